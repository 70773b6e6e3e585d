import LoadBalancing
public import Netlink

/// Compares the machine with a tunnel that it shall have. What the operator has not said is not compared, so that
/// repeating a command finds nothing to do.
public struct TunnelPlan: Sendable, Equatable {
    public let steps: [TunnelStep]
    /// What works, but perhaps not as meant.
    public let notes: [String]

    /// Where the machine's state is read at one moment. `hasModule`: the kernel knows ipip already.
    public init(
        _ desired: PointToPoint, links: [Link], tunnels: [Tunnel], addresses: [InterfaceAddress], hasModule: Bool
    ) throws(TunnelError) {
        let present = try Self.present(desired, links: links, tunnels: tunnels)
        let own = addresses.filter { $0.interface == present?.interface }
        var steps: [TunnelStep] = []
        if present == nil {
            if !hasModule { steps.append(.loadModule) }
            steps.append(
                .create(
                    name: desired.name, local: desired.local, remote: desired.remote, ttl: desired.ttl ?? 0,
                    mtu: desired.mtu))
        }
        if let address = desired.address, !own.contains(where: { Self.matches($0, address) }) {
            if let other = own.first {
                throw .taken("\(desired.name) is there, with the address \(Self.describe(other)), not \(address)")
            }
            steps.append(.addAddress(address, name: desired.name))
        }
        if present?.isUp != true { steps.append(.setUp(name: desired.name)) }
        self.steps = steps
        notes = Self.notes(desired, links: links, tunnels: tunnels, addresses: addresses)
    }

    /// The device of that name, if it is the tunnel that is wanted.
    private static func present(
        _ desired: PointToPoint, links: [Link], tunnels: [Tunnel]
    ) throws(TunnelError) -> Tunnel? {
        guard let link = links.first(where: { $0.name == desired.name }) else {
            if let other = tunnels.first(where: {
                $0.kind == TunnelStep.module && $0.local == desired.local && $0.remote == desired.remote
                    && $0.lower == nil
            }) {
                throw .taken("\(other.name) is a tunnel from \(desired.local) to \(desired.remote) already")
            }
            return nil
        }
        guard let tunnel = tunnels.first(where: { $0.interface == link.index && $0.kind == TunnelStep.module }) else {
            throw .taken("\(desired.name) is there, and is no IPIP tunnel, but \(link.kind ?? "a hardware device")")
        }
        let differences = differences(tunnel, desired)
        guard differences.isEmpty else {
            throw .taken(
                "\(desired.name) is there with other values: \(differences.joined(separator: ", ")) "
                    + "('ipvsd tunnel delete \(desired.name)' removes it)")
        }
        return tunnel
    }

    private static func differences(_ tunnel: Tunnel, _ desired: PointToPoint) -> [String] {
        func end(_ address: IPv4Address?) -> String { address.map { "\($0)" } ?? "any" }
        var differences: [String] = []
        if tunnel.local != desired.local { differences.append("local \(end(tunnel.local)), not \(desired.local)") }
        if tunnel.remote != desired.remote {
            differences.append("remote \(end(tunnel.remote)), not \(desired.remote)")
        }
        if let ttl = desired.ttl, tunnel.ttl != ttl {
            let describe = PointToPoint.describe(ttl:)
            differences.append("ttl \(describe(tunnel.ttl)), not \(describe(ttl))")
        }
        if let mtu = desired.mtu, tunnel.mtu != mtu { differences.append("mtu \(tunnel.mtu), not \(mtu)") }
        return differences
    }

    private static func matches(_ entry: InterfaceAddress, _ address: PointToPoint.Address) -> Bool {
        entry.address == address.own && entry.peer == address.peer && entry.prefixLength == address.prefixLength
    }

    private static func describe(_ entry: InterfaceAddress) -> String {
        PointToPoint.Address(own: entry.address, peer: entry.peer, prefixLength: entry.prefixLength).description
    }

    private static func notes(
        _ desired: PointToPoint, links: [Link], tunnels: [Tunnel], addresses: [InterfaceAddress]
    ) -> [String] {
        var notes: [String] = []
        if !addresses.contains(where: { $0.address == desired.local }) {
            notes.append("\(desired.local) is no address of this machine: nothing will arrive by \(desired.name)")
        }
        // The kernel asks the tunnel with both ends first (ip_tunnel_lookup), tunl0 last.
        if let fallback = links.first(where: { $0.name == TunnelSetup.fallbackName }), fallback.isUp,
            let vip = addresses.first(where: { $0.interface == fallback.index })
        {
            notes.append(
                "\(fallback.name) holds \(vip.address): what \(desired.remote) sends by IPIP comes out of \(desired.name) "
                    + "now, so a director of this real server must not be at that address")
        }
        return notes
    }
}
