import Addresses
import HostState
import Netlink

/// The comparison of the machine with a wanted tunnel. Values that the operator did not give are not compared, so that
/// a repeated command has nothing to do. The comparison changes nothing.
struct Planner {
    let desired: PointToPoint
    /// The machine's links.
    let links: [Link]
    let tunnels: [Tunnel]
    let addresses: [InterfaceAddress]
    /// Whether the kernel has ipip already.
    let hasModule: Bool

    func plan() throws(TunnelError) -> Plan {
        let present = try present()
        let own = addresses.filter { $0.interface == present?.interface }
        var steps: [Step] = []
        if present == nil { steps = (hasModule ? [] : [.loadTunnelModule]) + [.create(desired)] }
        if let address = desired.address, !own.contains(where: { PointToPoint.Address($0) == address }) {
            if let other = own.first {
                throw .taken(
                    "\(desired.name) is there, with the address \(PointToPoint.Address(other)), not \(address)")
            }
            steps.append(
                .addAddress(
                    address.own, peer: address.peer, prefixLength: address.prefixLength, to: desired.name))
        }
        if present?.isUp != true { steps.append(.setUp(desired.name)) }
        return Plan(steps, notes: notes)
    }

    /// Returns the tunnel of the wanted name, or nil if there is none. Throws if the name's device is not as wanted, or
    /// if another tunnel has the same ends.
    private func present() throws(TunnelError) -> Tunnel? {
        guard let link = links.first(where: { $0.name == desired.name }) else {
            if let other = tunnels.first(where: {
                $0.kind == TunnelSetup.kind && $0.local == desired.local && $0.remote == desired.remote
                    && $0.lower == nil
            }) {
                throw .taken("\(other.name) is a tunnel from \(desired.local) to \(desired.remote) already")
            }
            return nil
        }
        guard let tunnel = tunnels.first(where: { $0.interface == link.index && $0.kind == TunnelSetup.kind }) else {
            throw .taken("\(desired.name) is there, and is no IPIP tunnel, but \(link.kind ?? "a hardware device")")
        }
        let differences = differences(tunnel)
        guard differences.isEmpty else {
            throw .taken(
                "\(desired.name) is there with other values: \(differences.joined(separator: ", ")) "
                    + "('ipvsd tunnel delete \(desired.name)' removes it)")
        }
        return tunnel
    }

    private func differences(_ tunnel: Tunnel) -> [String] {
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

    private var notes: [String] {
        var notes: [String] = []
        if !addresses.contains(where: { $0.address == .v4(desired.local) }) {
            notes.append("\(desired.local) is no address of this machine: nothing will arrive by \(desired.name)")
        }
        // The kernel prefers a tunnel with both ends to tunl0 (ip_tunnel_lookup).
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
