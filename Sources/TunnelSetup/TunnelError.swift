import SystemCalls

/// An error in adding, deleting or listing a tunnel.
public enum TunnelError: Error, Equatable, CustomStringConvertible {
    /// An operation needs root: exit code 77.
    case missingPrivilege(String)
    /// No tunnel has the name: exit code 69.
    case notFound(String)
    /// Another device has the name or the two ends: exit code 69.
    case taken(String)
    /// The device must not be deleted: exit code 64.
    case refused(String)
    /// The kernel refuses: exit code 71.
    case kernel(String)
    /// Another 'ipvsd tunnel' runs: exit code 75.
    case busy(String)

    public var description: String {
        switch self {
        case .missingPrivilege(let reason): "\(reason) (run as root)"
        case .notFound(let reason), .taken(let reason), .refused(let reason), .kernel(let reason), .busy(let reason):
            reason
        }
    }

    static func naming<Result>(_ body: () throws -> Result) throws(TunnelError) -> Result {
        do {
            return try body()
        } catch let error as TunnelError {
            throw error
        } catch let error as any KernelError where error.isMissingPrivilege {
            throw .missingPrivilege("\(error)")
        } catch {
            throw .kernel("\(error)")
        }
    }
}
