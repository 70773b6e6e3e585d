internal import DataPlane
internal import SystemCalls

/// Why a director cannot run, or does not do what it is asked, by what the operator can do about it.
public struct DirectorError: Error, Codable, CustomStringConvertible {
    public enum Kind: String, Sendable, Codable, CaseIterable {
        /// An interface is missing, or has another XDP program.
        case interface
        /// The kernel refuses.
        case kernel
        case alreadyRunning
        case noPrivilege
        /// What is configured cannot be on this machine.
        case badValue
        /// A service would be left with less than its quorum.
        case tooFew
        /// A real server is no longer drained.
        case notDrained
    }

    public let kind: Kind
    public let description: String

    public init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }

    /// An error of the machine's: missing privilege, or the kernel's refusal.
    public init(_ error: any Error) {
        switch error {
        case let error as DirectorError: self = error
        case let error as DataPlaneError:
            switch error.kind {
            case .interface: self.init(.interface, "\(error)")
            case .kernel: self.init(.kernel, "\(error)")
            }
        case let error as any KernelError where error.isMissingPrivilege && !error.isRefusedToRoot:
            self.init(.noPrivilege, "\(error) (run as root)")
        default: self.init(.kernel, "\(error)")
        }
    }
}
