import LoadBalancing
import Netlink

/// The routing table of answers from the VIPs: main's routes once more, with the MSS to announce.
struct ReplyRoutes {
    let policy: MSSPolicy
    let machine: Machine

    /// In the order in which they can be added: what is on a link before the gateways there.
    func desired() throws(RealServerSetupError) -> [Route] {
        guard policy != .off else { return [] }
        guard machine.mainRoutes.count <= Names.maximumRoutes else {
            throw .conflict("\(machine.mainRoutes.count) routes are too many to copy for the MSS: use --mss off")
        }
        if let route = machine.mainRoutes.first(where: \.hasUnknownParts) {
            throw .conflict("cannot copy route \(route.destinationDescription) for the MSS: use --mss off")
        }
        return machine.mainRoutes.map(clamped).sorted { ($0.scope, $0.prefixLength) > ($1.scope, $1.prefixLength) }
    }

    func desiredRules(for vips: [IPv4Address]) -> [Rule] {
        guard policy != .off else { return [] }
        return vips.map {
            Rule(
                priority: Names.rulePriority, source: $0, table: Names.table, protocolID: Names.routeProtocol)
        }
    }

    private func clamped(_ route: Route) -> Route {
        var copy = route
        copy.table = Names.table
        copy.protocolID = Names.routeProtocol
        // Unreachable, blackhole and the like have no MSS.
        guard route.type == RouteType.unicast else { return copy }
        copy.advmss = mss(of: route).map { min($0, route.advmss ?? .max) }
        return copy
    }

    private func mss(of route: Route) -> UInt32? {
        switch policy {
        case .off: return nil
        case .value(let bytes): return bytes
        case .auto:
            let interfaces = [route.interface].compactMap(\.self) + route.nextHops.map(\.interface)
            let mtus = interfaces.compactMap { machine.link(index: $0)?.mtu } + [route.mtu].compactMap(\.self)
            guard let mtu = mtus.min(), mtu > MSSPolicy.overhead else { return nil }
            return mtu - MSSPolicy.overhead
        }
    }
}
