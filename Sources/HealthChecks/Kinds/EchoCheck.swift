/// Sends one ICMP echo request and expects its reply (RFC 792). Stages: start (a raw socket), answer.
///
/// Through the tunnel it shows that the host decapsulates and holds the VIP; it says nothing of any service.
public struct EchoCheck: Hashable, Sendable {
    public init() {}
}
