public import LoadBalancing

/// All that an operator asks of a director: the one value that flags and files become.
public struct DirectorConfiguration: Equatable, Sendable, Codable {
    public var services: [VirtualService]
    /// nil: the interface of the VIP's subnet, or else of the default route.
    public var interface: String?
    public var xdp: XDPPreference
    public var checks: CheckPolicy
    /// Whether the director puts the VIPs on itself and announces them.
    public var managesAddress: Bool

    public init(
        services: [VirtualService], interface: String? = nil, xdp: XDPPreference = .auto,
        checks: CheckPolicy = CheckPolicy(), managesAddress: Bool = true
    ) {
        self.services = services
        self.interface = interface
        self.xdp = xdp
        self.checks = checks
        self.managesAddress = managesAddress
    }
}
