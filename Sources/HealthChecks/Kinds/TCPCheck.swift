/// Connects and resets the connection at once (RFC 9293). Stage: connect.
public struct TCPCheck: Hashable, Sendable {
    public var port: UInt16

    public init(port: UInt16) { self.port = port }
}
