internal import HostState
internal import Netlink

/// Why a director cannot run, by what the operator can do about it.
public struct DirectorError: Error, CustomStringConvertible {
    public enum Kind: Sendable {
        /// An interface is missing, or has another XDP program.
        case interface
        /// The kernel refuses.
        case kernel
        case alreadyRunning
        case noPrivilege
        /// What is configured cannot be on this machine.
        case badValue
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
        case let error as SystemError where error.code == 13 || error.code == 1:
            self.init(.noPrivilege, "\(error) (run as root)")
        case let error as NetlinkError where error.code == 1: self.init(.noPrivilege, "\(error) (run as root)")
        default: self.init(.kernel, "\(error)")
        }
    }
}
