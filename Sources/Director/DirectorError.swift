internal import DataPlane
internal import SystemCalls

/// A director's error. The kind groups errors by what an operator can do about them.
public struct DirectorError: Error, Codable, CustomStringConvertible {
    public enum Kind: String, Sendable, Codable, CaseIterable {
        /// An interface is missing, or has another XDP program.
        case interface
        /// The kernel refused an operation.
        case kernel
        case alreadyRunning
        case noPrivilege
        /// A configured or requested value cannot be applied on this machine.
        case badValue
        /// A drain would leave a service with less than its quorum.
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

    /// Wraps an error as missing privilege, an interface's problem or the kernel's refusal. Keeps a `DirectorError` as
    /// it is.
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
