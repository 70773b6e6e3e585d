/// Why the daemon did not take its configuration file's new contents.
public struct ReloadRefusal: Error, Codable, Sendable {
    /// Of sysexits.h, for the command that asked.
    public var code: Int32
    /// One line an error.
    public var message: String

    public init(code: Int32, message: String) {
        self.code = code
        self.message = message
    }
}
