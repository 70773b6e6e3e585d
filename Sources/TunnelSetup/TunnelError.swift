import SystemCalls

/// Why a tunnel is not added or deleted.
public enum TunnelError: Error, Equatable, CustomStringConvertible {
    /// An operation that wants root: exit code 77.
    case missingPrivilege(String)
    /// There is no such tunnel: exit code 69.
    case notFound(String)
    /// The name, or the way between the two ends, is another device's: exit code 69.
    case taken(String)
    /// A device that is not ours to delete: exit code 64.
    case refused(String)
    /// Exit code 71.
    case kernel(String)
    /// Another one is at work: exit code 75.
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
