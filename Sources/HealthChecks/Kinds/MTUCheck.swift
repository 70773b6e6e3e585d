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
