/// Sends one datagram and expects one back (RFC 768). Stages: connect (no packet is sent for it), answer.
public struct UDPCheck: Hashable, Sendable {
    public enum Reply: Hashable, Sendable {
        /// Whatever comes first.
        case any
        case equals([UInt8])
        case startsWith([UInt8])
        /// Silence is health, too: all that fails is an ICMP error, such as "port unreachable". The check lasts until
        /// its deadline then.
        case optional
    }

    public var port: UInt16
    public var payload: [UInt8]
    public var reply: Reply

    public init(port: UInt16, payload: [UInt8], reply: Reply = .any) {
        self.port = port
        self.payload = payload
        self.reply = reply
    }
}
