/// Why a real server cannot be set up, where it is not simply the kernel that refuses.
public enum RealServerSetupError: Error, CustomStringConvertible {
    /// An operation that wants root: exit code 77.
    case missingPrivilege(String)
    /// Exit code 69.
    case noInterface(String)
    /// The machine is configured in a way that we must not touch: exit code 71.
    case conflict(String)
    /// Another realserver-setup is at work: exit code 75.
    case busy(String)

    public var description: String {
        switch self {
        case .missingPrivilege(let reason): "\(reason) (run as root)"
        case .noInterface(let reason), .conflict(let reason), .busy(let reason): reason
        }
    }
}
