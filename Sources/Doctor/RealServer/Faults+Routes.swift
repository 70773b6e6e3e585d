import Addresses
import HostState
import Netlink
import RealServerSetup

/// The faults of routes, forwarding and the reverse-path filter.
extension RealServerFacts {
    func filterFindings() -> [Finding] {
        guard let tunnel else { return [] }
        let value = larger("rp_filter", of: tunnel.name)
        guard value == 1 else { return [] }
        return [
            Finding(
                .reversePathFilter,
                "rp_filter is 1 on tunl0 (the larger of all's, \(sysctls["all/rp_filter"] ?? 0), and its own, \(sysctls["tunl0/rp_filter"] ?? 0)): all clients' packets are dropped",
                fix: "sysctl -w net.ipv4.conf.tunl0.rp_filter=2", repair: .setUp)
        ]
    }

    func forwardingFindings() -> [Finding] {
        guard let tunnel else { return [] }
        guard sysctls["\(tunnel.name)/forwarding"] ?? 0 != 0 else { return missingForwardingFindings() }
        // Other packets need the forwarding: those of published ports, or of a tunnel to other hosts' networks.
        if isForwardingUsed(by: tunnel) { return [] }
        return [
            Finding(
                .forwarding,
                "forwarding is on for tunl0: this host forwards any packet that comes by IPIP into its networks, and returns packets for a missing VIP to the director",
                fix: "sysctl -w net.ipv4.conf.tunl0.forwarding=0",
                repair: .steps([.setSysctl("net/ipv4/conf/tunl0/forwarding", to: "0")]))
        ]
    }

    private func isForwardingUsed(by tunnel: Link) -> Bool {
        let ours = Set(vips + ownVIPs)
        return addresses.contains { $0.interface == tunnel.index && !ours.contains($0.address) }
            || routes.contains { route in
                // The routes that come with addresses have RTPROT_KERNEL (2).
                route.type == RouteType.unicast && route.table != RouteTable.local && route.protocolID != 2
                    && ([route.interface] + route.nextHops.map(\.interface)).contains(tunnel.index)
            } || ours.contains { translation(to: $0, port: nil) != nil }
    }

    /// Returns the fault of a service whose packets get another destination, for which forwarding has to be on.
    private func missingForwardingFindings() -> [Finding] {
        guard let port else { return [] }
        return vips.compactMap { vip in
            guard let rule = translation(to: vip, port: port) else { return nil }
            return Finding(
                .forwarding,
                "packets for port \(port) of \(vip) get another destination by \(rule), but forwarding is off for tunl0: they are dropped",
                fix: "sysctl -w net.ipv4.conf.tunl0.forwarding=1")
        }
    }

    func returnFindings() -> [Finding] {
        let hasDefault = routes.contains {
            $0.table == RouteTable.main && $0.prefixLength == 0 && $0.type == RouteType.unicast
        }
        if hasDefault { return [] }
        return [
            Finding(
                .noRouteBack,
                "there is no default route: answers reach only clients in this host's own networks, and a reverse-path filter drops packets of the others",
                fix: "ip route add default via GATEWAY")
        ]
    }

    /// Returns the fault of an MSS that is too large. Clients' segments get 20 more bytes on the way from the director.
    func segmentFindings() -> [Finding] {
        guard wantsMSS else { return [] }
        let main = routes.filter { $0.table == RouteTable.main && $0.type == RouteType.unicast }
        for vip in vips {
            let table =
                rules.filter { rule in
                    rule.table != RouteTable.local
                        && (rule.source.map { source in
                            Firewall.range(source, length: Int(rule.sourcePrefixLength))?.contains(vip) ?? false
                        } ?? true)
                }.min { $0.priority < $1.priority }?.table ?? RouteTable.main
            for route in main {
                guard let mtu = mtu(of: route) else { continue }
                let copy =
                    routes.first {
                        $0.table == table && $0.destination == route.destination
                            && $0.prefixLength == route.prefixLength && ($0.metric ?? 0) == (route.metric ?? 0)
                    }
                let ordinary = (copy ?? route).advmss ?? mtu - 40
                if isLoweredByProgram(vip, route) { continue }
                let announced = segmentRules?.lowered(ordinary, from: vip, mtu: mtu) ?? ordinary
                if announced <= mtu - 60 { continue }
                return [
                    Finding(
                        .announcedMSS,
                        "answers from \(vip) by the route \(route.destinationDescription) announce an MSS of \(announced) bytes, and the tunnel has room for \(mtu - 60)\(missingRules)",
                        fix: setUpCommand, repair: .setUp)
                ]
            }
        }
        return []
    }

    private var missingRules: String { segmentRules == nil ? "; nftables' table ip ipvsd is missing" : "" }

    private func isLoweredByProgram(_ vip: IPAddress, _ route: Route) -> Bool {
        let interfaces = ([route.interface].compactMap(\.self) + route.nextHops.map(\.interface)).map(name)
        return interfaces.allSatisfy { segmentPrograms[$0]?.contains(vip) ?? false }
    }

    /// Returns the MTU of a route, in bytes. Nil: the route does not use Ethernet, or the MTU is below 61.
    private func mtu(of route: Route) -> UInt32? {
        let interfaces = [route.interface].compactMap(\.self) + route.nextHops.map(\.interface)
        let mtus = interfaces.compactMap { index in lan.first { $0.index == index }?.mtu }
        guard let mtu = (mtus + [mtus.isEmpty ? nil : route.mtu].compactMap(\.self)).min(), mtu > 60 else { return nil }
        return mtu
    }

    func directorFindings() -> [Finding] {
        guard let director else { return [] }
        if let entry = addresses.first(where: { $0.address == director }) {
            return [
                Finding(
                    .outerSourceLocal,
                    "the director's address \(director) is also on \(name(entry.interface)) of this host: the kernel drops packets from it as martians",
                    fix: "ip addr del \(director)/\(entry.prefixLength) dev \(name(entry.interface))")
            ]
        }
        guard let way = wayToDirector else {
            if unseenWays.contains(director) { return [] }
            return [
                Finding(
                    .directorUnreachable, "there is no route to the director \(director)",
                    fix: "ip route add \(director) via GATEWAY")
            ]
        }
        if directorAnswers == false {
            return [
                Finding(
                    .directorUnreachable, "the director \(director) answers neither ARP nor ICMP echo",
                    fix: "check cables, VLANs and routes between here and \(director), then: ping \(director)")
            ]
        }
        if let pathMTU, !pathMTU.isAnswered {
            return [
                Finding(
                    .pathMTU,
                    "an echo request of \(pathMTU.size) bytes to the director \(director) gets no answer, though the MTU of \(name(way.interface)) allows it and smaller ones are answered",
                    fix:
                        "set the same MTU on the whole way, or on both hosts a smaller one for the route: ip route replace \(director)\(way.gateway.map { " via \($0)" } ?? "") dev \(name(way.interface)) mtu SIZE"
                )
            ]
        }
        return []
    }

    /// Returns the faults of a reverse-path filter that drops the director's packets, as the way back leads out of
    /// another interface.
    func outerSourceFindings() -> [Finding] {
        guard let director else { return [] }
        var findings: [Finding] = []
        let near = interface(toward: director)
        if let near, larger("rp_filter", of: near.name) == 1, let wayToDirector, wayToDirector.interface != near.index {
            findings.append(
                filtered(
                    "the director's packets come in on \(near.name), but the way back to \(director) is \(name(wayToDirector.interface))",
                    near))
        }
        if let outerSources, !unseenWays.contains(outerSources.address) {
            let ingress = near ?? wayToDirector.flatMap { way in lan.first { $0.index == way.interface } }
            if let ingress {
                let filter = larger("rp_filter", of: ingress.name)
                let way = wayToOuterSources.map { name($0.interface) } ?? "none"
                let isDropped = filter == 1 ? wayToOuterSources?.interface != ingress.index : wayToOuterSources == nil
                if filter != 0 && isDropped {
                    findings.append(
                        filtered(
                            "outer sources of \(outerSources) come in on \(ingress.name), but the way back to them is \(way)",
                            ingress))
                }
            }
        }
        return findings
    }

    private func filtered(_ reason: String, _ link: Link) -> Finding {
        Finding(
            .outerSourceFiltered,
            "\(reason), and rp_filter is \(larger("rp_filter", of: link.name)) on \(link.name)\(standInRemark)",
            fix: "sysctl -w net.ipv4.conf.\(link.name).rp_filter=2, or a route back by \(link.name)")
    }

    var standInRemark: String {
        usesStandIn ? " (without effect while tunl0 is a TUN device, as its program comes before the filter)" : ""
    }
}
