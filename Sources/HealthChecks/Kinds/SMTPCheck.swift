/// Awaits the greeting (220), says HELO (250) and QUIT (221); no mail is begun (RFC 5321). Stages: connect, greeting,
/// HELO, QUIT.
public struct SMTPCheck: Hashable, Sendable {
    public var port: UInt16
    /// The client's name in HELO.
    public var helo: String

    public init(port: UInt16 = 25, helo: String = "ipvsd.invalid") {
        self.port = port
        self.helo = helo
    }
}
