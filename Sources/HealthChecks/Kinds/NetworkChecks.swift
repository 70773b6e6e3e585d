/// Sends one ICMP echo request and expects its reply (RFC 792). Stages: start (a raw socket), answer.
///
/// Through the tunnel it shows that the host decapsulates and holds the VIP; it says nothing of any service.
public struct EchoCheck: Hashable, Sendable {
    public init() {}
}

/// Sends ICMP echo requests that may not be fragmented (DF) and finds the largest packet that is answered, by bisection
/// (RFC 792, RFC 1191; the search is that of RFC 4821 and RFC 8899, without their timers). Stages: start, answer.
///
/// Health is a path that either takes packets of `size` or says what it takes: "fragmentation needed", or the director's
/// own device's MTU. A path on which larger packets vanish in silence is a black hole, and that is what a failure says. A
/// size is given up after three silences of a fortieth of the deadline each; ten seconds suit most networks.
public struct MTUCheck: Hashable, Sendable {
    /// Of the packet inside the tunnel, its IP header included: usually the MTU of the way to the real server less 20.
    public var size: Int

    static let least = 68

    public init(size: Int = 1480) throws(InvalidCheck) {
        guard (Self.least...65_535).contains(size) else {
            throw InvalidCheck("\(size) is no size of a packet: \(Self.least) to 65535")
        }
        self.size = size
    }
}

/// Connects and resets the connection at once (RFC 9293). Stage: connect.
public struct TCPCheck: Hashable, Sendable {
    public var port: UInt16

    public init(port: UInt16) { self.port = port }
}

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
