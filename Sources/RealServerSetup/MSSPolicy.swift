/// What largest TCP segment a real server announces in its answers from a VIP. The director adds 20 bytes to what the
/// client sends, so a segment that fits the client's way may be too long for the tunnel.
public enum MSSPolicy: Sendable, Hashable {
    /// What fits with one more IPv4 header: the route's MTU less 60.
    case auto
    case off
    /// Bytes of TCP payload.
    case value(UInt32)

    /// Outer IPv4 header, inner IPv4 header, TCP header.
    static let overhead: UInt32 = 20 + 20 + 20
}
