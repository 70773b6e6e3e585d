/// A check that sends one ICMP echo request, and expects its reply (RFC 792). Its stages are start (a raw socket) and
/// answer.
///
/// Through the tunnel, a reply shows that the host decapsulates packets and holds the VIP. It proves nothing about a
/// service.
public struct EchoCheck: Hashable, Sendable {
    public init() {}
}

/// A check of the path MTU. It sends ICMP echo requests with DF set (RFC 792, RFC 1191), and finds the largest answered
/// packet by bisection. The search is the one of RFC 4821 and RFC 8899, without their timers. Its stages are start and
/// answer.
///
/// A path is healthy if it passes packets of `size`, or reports a smaller limit. The report is a "fragmentation
/// needed", or the smaller MTU of the director's own device. A path that drops larger packets silently is a black hole,
/// which fails the check. Each size gets three attempts of a fortieth of the deadline each. A deadline of ten seconds
/// suits most networks.
public struct MTUCheck: Hashable, Sendable {
    /// The size of the packet inside the tunnel in bytes, IP header included. It is usually the MTU of the path to the
    /// real server less 20.
    public var size: Int

    /// The smallest MTU of IPv4, in bytes (RFC 791).
    static let least = 68

    public init(size: Int = 1480) throws(InvalidCheck) {
        guard (Self.least...65_535).contains(size) else {
            throw InvalidCheck("\(size) is no size of a packet: \(Self.least) to 65535")
        }
        self.size = size
    }
}

/// A check that opens a TCP connection, and resets it at once (RFC 9293). Its stage is connect.
public struct TCPCheck: Hashable, Sendable {
    public var port: UInt16

    public init(port: UInt16) { self.port = port }
}

/// A check that sends one datagram, and expects a datagram in reply (RFC 768). Its stages are connect, which sends no
/// packet, and answer.
public struct UDPCheck: Hashable, Sendable {
    public enum Reply: Hashable, Sendable {
        /// Any datagram.
        case any
        case equals([UInt8])
        case startsWith([UInt8])
        /// Any datagram or none. Only an ICMP error fails, such as "port unreachable". Without a reply, the check lasts
        /// until its deadline.
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

/// A check that waits for the greeting (220), and sends HELO (250) and QUIT (221), without a mail (RFC 5321). Its
/// stages are connect, greeting, HELO and QUIT.
public struct SMTPCheck: Hashable, Sendable {
    public var port: UInt16
    /// The client's name in HELO.
    public var helo: String

    public init(port: UInt16 = 25, helo: String = "ipvsd.invalid") {
        self.port = port
        self.helo = helo
    }
}
