public import LoadBalancing

/// All that an operator asks of a director: the one value that flags and files become.
public struct DirectorConfiguration: Equatable, Sendable, Codable {
    public var services: [VirtualService]
    /// nil: the interface of the VIP's subnet, or else of the default route.
    public var interface: String?
    public var xdp: XDPPreference
    public var checks: CheckPolicy
    /// Unanswered SYNs trigger checks, and one repeated to a silent real server is scheduled anew.
    public var watchesSYNs: Bool
    /// Whether the director puts the VIPs on itself and announces them.
    public var managesAddress: Bool

    public init(
        services: [VirtualService], interface: String? = nil, xdp: XDPPreference = .auto,
        checks: CheckPolicy = CheckPolicy(), watchesSYNs: Bool = true, managesAddress: Bool = true
    ) {
        self.services = services
        self.interface = interface
        self.xdp = xdp
        self.checks = checks
        self.watchesSYNs = watchesSYNs
        self.managesAddress = managesAddress
    }
}
