/// The daemon's refusal of its configuration file's new contents.
public struct ReloadRefusal: Error, Codable, Sendable {
    /// The exit code of the command that requested the reload, as in sysexits.h.
    public var code: Int32
    /// The errors, one a line.
    public var message: String

    public init(code: Int32, message: String) {
        self.code = code
        self.message = message
    }
}
