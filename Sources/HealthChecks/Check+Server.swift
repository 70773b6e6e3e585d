public import Addresses

extension Check {
    /// With the real server's address for "{server}" in a file's path and a script's arguments.
    public func addressed(to server: IPAddress) -> Check {
        switch self {
        case .file(var check):
            check.path = Self.filled(check.path, server)
            return .file(check)
        case .script(var check):
            check.arguments = check.arguments.map { Self.filled($0, server) }
            return .script(check)
        default: return self
        }
    }

    private static func filled(_ text: String, _ server: IPAddress) -> String {
        text.split(separator: "{server}", omittingEmptySubsequences: false).joined(separator: server.description)
    }
}
