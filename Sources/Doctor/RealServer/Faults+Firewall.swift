import Addresses
import Netlink
import ServiceConfiguration

/// What the packet filter would do with the director's and the clients' packets.
extension RealServerFacts {
    private static let icmp: UInt8 = 1
    private static let ipip: UInt8 = 4
    private static let tcp: UInt8 = 6
    private static let udp: UInt8 = 17

    func firewallFindings() -> [Finding] {
        firewalls.flatMap { firewall in
            [outer(firewall), invalid(firewall)].compactMap(\.self)
                + vips.flatMap { arrivals(of: $0, firewall) + departures(of: $0, firewall) }
        }
    }

    /// A rule that may give what clients send to the VIP another destination, as container engines publish ports. With a
    /// port, of that port; nil: of any.
    func translation(to vip: IPAddress, port: UInt16?) -> String? {
        for firewall in firewalls {
            for number in [Self.tcp, Self.udp] {
                let packet = Firewall.Packet(
                    protocolNumber: number, input: Self.device, destination: vip, destinationPort: port, state: "new")
                if let rule = firewall.translation(of: packet) { return rule }
            }
        }
        return nil
    }

    private func outer(_ firewall: Firewall) -> Finding? {
        for link in lan {
            let own = addresses.first { $0.interface == link.index }?.address
            let packet = { (source: IPAddress?) in
                Firewall.Packet(
                    protocolNumber: Self.ipip, input: link.name, source: source, destination: own, state: "new")
            }
            let hooks: [Firewall.Hook] = [.ingress, .prerouting, .input]
            let isTheWay = director.flatMap(interface(toward:)).map { $0.index == link.index } ?? true
            guard isTheWay else { continue }
            if let drop = firewall.drop(of: packet(director), at: hooks) {
                return Finding(
                    .firewallTunnel,
                    "protocol 4 (IPIP) from \(describe(director)) is dropped by \(drop.text)\(standInRemark)",
                    fix: "nft insert rule \(drop.chain) ip protocol 4 accept, or iptables -I INPUT -p 4 -j ACCEPT")
            }
            if let outerSources, let drop = firewall.drop(of: packet(outerSources.address), at: hooks) {
                return Finding(
                    .outerSourceFiltered,
                    "IPIP from the outer sources \(outerSources) is dropped by \(drop.text)\(standInRemark)",
                    fix: "nft insert rule \(drop.chain) ip protocol 4 ip saddr \(outerSources) accept")
            }
        }
        return nil
    }

    private func invalid(_ firewall: Firewall) -> Finding? {
        for vip in vips {
            let incoming = Firewall.Packet(
                protocolNumber: Self.tcp, input: Self.device, destination: vip, destinationPort: port, state: "invalid")
            let outgoing = Firewall.Packet(
                protocolNumber: Self.tcp, output: lan.first?.name, source: vip, state: "invalid")
            let drops = [
                firewall.drop(of: incoming, at: [.prerouting, .input]),
                firewall.drop(of: outgoing, at: [.output, .postrouting]),
            ]
            for drop in drops.compactMap(\.self) where drop.isByState {
                return Finding(
                    .firewallInvalid,
                    "what conntrack calls invalid is dropped by \(drop.text): connections that moved here from another real server, and their RSTs",
                    fix:
                        "nft insert rule \(drop.chain) iifname tunl0 accept, or iptables -I INPUT -i tunl0 -j ACCEPT (for output: ip saddr \(vip))"
                )
            }
        }
        return nil
    }

    // MARK: What was unwrapped, and what answers it

    /// One class of packets that the set-up needs.
    private struct Class {
        var fault: Fault
        var what: String
        var packet: Firewall.Packet
    }

    /// The protocols by which the service is asked for: those of the sockets that listen at the port.
    private var protocols: Set<UInt8> {
        let sockets = sockets.filter { port != nil && $0.port == port }
        return sockets.isEmpty ? [Self.tcp] : Set(sockets.map { $0.isUDP ? Self.udp : Self.tcp })
    }

    /// Where no TCP connection can be made, the default check is an ICMP echo request.
    private var isCheckedByEcho: Bool { port == nil || !protocols.contains(Self.tcp) }

    private func arrivals(of vip: IPAddress, _ firewall: Firewall) -> [Finding] {
        ([Self.device] + claimants.map(\.name)).flatMap { device in
            // What is given another destination is forwarded; by which rules depends on where to.
            let isTranslated = translation(to: vip, port: port) != nil
            return arrivingClasses(at: vip, on: device, isTranslated: isTranslated).compactMap { entry -> Finding? in
                let isForwarded = isTranslated && entry.fault == .firewallVIP
                if isForwarded, port == nil { return nil }
                let hooks: [Firewall.Hook] = isForwarded ? [.forward] : [.prerouting, .input]
                guard let drop = firewall.drop(of: entry.packet, at: hooks) else { return nil }
                return Finding(
                    entry.fault, "\(entry.what) on \(device) are dropped by \(drop.text)",
                    fix: drop.accept(from: device))
            }
        }
    }

    private func arrivingClasses(at vip: IPAddress, on device: String, isTranslated: Bool) -> [Class] {
        let service = "\(vip)\(port.map { ":\($0)" } ?? "")"
        func packet(_ number: UInt8, port: UInt16? = nil, type: UInt8? = nil, state: String = "new") -> Firewall.Packet
        {
            Firewall.Packet(
                protocolNumber: number, input: device,
                destination: isTranslated && [Self.tcp, Self.udp].contains(number) ? nil : vip, destinationPort: port,
                icmpType: type, state: state)
        }
        let data = protocols.sorted().map { number in
            Class(
                fault: .firewallVIP,
                what: "unwrapped packets (\(number == Self.udp ? "UDP" : "TCP")) for \(service)",
                packet: packet(number, port: isTranslated ? nil : port))
        }
        let errors = Class(
            fault: .icmpDropped,
            what: "ICMP errors such as \"fragmentation needed\", by which answers from \(vip) become small enough,",
            packet: packet(Self.icmp, type: 3, state: "related"))
        let echo = Class(
            fault: .icmpDropped,
            what: "echo requests for \(vip), the default check of UDP and any-port services,",
            packet: packet(Self.icmp, type: 8))
        return data + [errors] + (isCheckedByEcho ? [echo] : [])
    }

    private func departures(of vip: IPAddress, _ firewall: Firewall) -> [Finding] {
        func packet(_ number: UInt8, type: UInt8? = nil) -> Firewall.Packet {
            Firewall.Packet(
                protocolNumber: number, output: lan.count == 1 ? lan[0].name : nil, source: vip, icmpType: type,
                state: "established")
        }
        let data = protocols.sorted().map { number in
            Class(
                fault: .firewallVIP, what: "answers (\(number == Self.udp ? "UDP" : "TCP")) from \(vip)",
                packet: packet(number))
        }
        let echo = Class(
            fault: .icmpDropped,
            what: "echo replies from \(vip), which the default check of UDP and any-port services waits for,",
            packet: packet(Self.icmp, type: 0))
        return (data + (isCheckedByEcho ? [echo] : [])).compactMap { entry in
            guard let drop = firewall.drop(of: entry.packet, at: [.output, .postrouting]) else { return nil }
            return Finding(
                entry.fault, "\(entry.what) are dropped by \(drop.text)",
                fix: "nft insert rule \(drop.chain) ip saddr \(vip) accept, or iptables -I OUTPUT -s \(vip) -j ACCEPT")
        }
    }

    func echoFindings() -> [Finding] {
        guard ignoresEcho, isCheckedByEcho else { return [] }
        return [
            Finding(
                .icmpDropped,
                "icmp_echo_ignore_all is 1: echo requests, the default check of UDP and any-port services, get no answer",
                fix: "sysctl -w net.ipv4.icmp_echo_ignore_all=0, or tell the director another "
                    + Options.check.flagName)
        ]
    }

    private func describe(_ source: IPAddress?) -> String { source.map { "\($0)" } ?? "anywhere" }
}

/// Whether anybody listens where clients' packets arrive.
extension RealServerFacts {
    func serviceFindings() -> [Finding] {
        vips.compactMap { vip in
            let candidates = sockets.filter { port == nil || $0.port == port }
            if candidates.contains(where: { $0.address == nil || $0.address == vip }) { return nil }
            // Whatever it goes to may be on another host.
            if translation(to: vip, port: port) != nil { return nil }
            let elsewhere = Set(candidates.filter { $0.address?.isLoopback != true }.map(\.description)).sorted()
            let what = port.map { "port \($0)" } ?? "any port"
            return Finding(
                .serviceNotBound,
                "nothing listens at \(what) of \(vip) or of the wildcard address"
                    + (elsewhere.isEmpty ? "" : ", only at \(elsewhere.prefix(8).joined(separator: ", "))"),
                fix: "have the service listen on \(vip)\(port.map { ":\($0)" } ?? "") or on 0.0.0.0")
        }
    }
}
