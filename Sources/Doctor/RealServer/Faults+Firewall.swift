import Addresses
import Netlink
import ServiceConfiguration

/// The faults of the packet filter.
extension RealServerFacts {
    private static let icmp: UInt8 = 1
    private static let ipip: UInt8 = 4
    private static let tcp: UInt8 = 6
    private static let udp: UInt8 = 17

    func firewallFindings() -> [Finding] {
        firewalls.flatMap { firewall in
            [outerFinding(firewall), invalidFinding(firewall)].compactMap(\.self)
                + vips.flatMap { arrivals(of: $0, firewall) + departures(of: $0, firewall) }
        }
    }

    /// Returns a rule that may give clients' packets for the VIP another destination, as container engines do to
    /// publish ports. With `port` nil, the rule may be for any port.
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

    private func outerFinding(_ firewall: Firewall) -> Finding? {
        for link in lan {
            let own = addresses.first { $0.interface == link.index }?.address
            let packet = { (source: IPAddress?) in
                Firewall.Packet(
                    protocolNumber: Self.ipip, input: link.name, source: source, destination: own, state: "new")
            }
            let hooks: [Firewall.Hook] = [.ingress, .prerouting, .input]
            let isTowardDirector = director.flatMap(interface(toward:)).map { $0.index == link.index } ?? true
            guard isTowardDirector else { continue }
            if let drop = firewall.drop(of: packet(director), at: hooks) {
                return Finding(
                    .firewallTunnel,
                    "IPIP (protocol 4) from \(describe(director)) on \(link.name) is dropped by \(drop.text)\(standInRemark)",
                    fix: drop.accept("ip protocol 4", iptables: "-p 4"))
            }
            if let outerSources, let drop = firewall.drop(of: packet(outerSources.address), at: hooks) {
                return Finding(
                    .outerSourceFiltered,
                    "IPIP (protocol 4) from the outer sources \(outerSources) on \(link.name) is dropped by \(drop.text)\(standInRemark)",
                    fix: drop.accept("ip protocol 4 ip saddr \(outerSources)", iptables: "-p 4 -s \(outerSources)"))
            }
        }
        return nil
    }

    private func invalidFinding(_ firewall: Firewall) -> Finding? {
        for vip in vips {
            let incoming = Firewall.Packet(
                protocolNumber: Self.tcp, input: Self.device, destination: vip, destinationPort: port, state: "invalid")
            let outgoing = Firewall.Packet(
                protocolNumber: Self.tcp, output: lan.first?.name, source: vip, state: "invalid")
            if let drop = firewall.drop(of: incoming, at: [.prerouting, .input]), drop.isByState {
                return Finding(
                    .firewallInvalid,
                    "packets for \(vip) on tunl0 that are invalid for conntrack, as of connections that moved here from another real server, are dropped by \(drop.text)",
                    fix: drop.accept(from: Self.device))
            }
            if let drop = firewall.drop(of: outgoing, at: [.output, .postrouting]), drop.isByState {
                return Finding(
                    .firewallInvalid,
                    "packets from \(vip) that are invalid for conntrack, as of connections that moved here from another real server, are dropped by \(drop.text)",
                    fix: drop.accept("ip saddr \(vip)", iptables: "-s \(vip)"))
            }
        }
        return nil
    }

    // MARK: Decapsulated packets and answers

    /// A class of packets that a real server needs.
    private struct PacketClass {
        var fault: Fault
        var what: String
        var packet: Firewall.Packet
    }

    /// The protocols of the service, which are those of the sockets at its port. Without such a socket, TCP.
    private var protocols: Set<UInt8> {
        let sockets = sockets.filter { port != nil && $0.port == port }
        return sockets.isEmpty ? [Self.tcp] : Set(sockets.map { $0.isUDP ? Self.udp : Self.tcp })
    }

    /// Whether the default check is an ICMP echo request, as no TCP connection can be made.
    private var isCheckedByEcho: Bool { port == nil || !protocols.contains(Self.tcp) }

    private func arrivals(of vip: IPAddress, _ firewall: Firewall) -> [Finding] {
        ([Self.device] + competingTunnels.map(\.name)).flatMap { device in
            // A packet that a rule gives another destination is forwarded. The rules that decide on it depend on that
            // destination.
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

    private func arrivingClasses(at vip: IPAddress, on device: String, isTranslated: Bool) -> [PacketClass] {
        let service = "\(vip)\(port.map { ":\($0)" } ?? "")"
        func packet(_ number: UInt8, port: UInt16? = nil, type: UInt8? = nil, state: String = "new") -> Firewall.Packet
        {
            Firewall.Packet(
                protocolNumber: number, input: device,
                destination: isTranslated && [Self.tcp, Self.udp].contains(number) ? nil : vip, destinationPort: port,
                icmpType: type, state: state)
        }
        let data = protocols.sorted().map { number in
            PacketClass(
                fault: .firewallVIP,
                what: "decapsulated packets (\(number == Self.udp ? "UDP" : "TCP")) for \(service)",
                packet: packet(number, port: isTranslated ? nil : port))
        }
        let errors = PacketClass(
            fault: .icmpDropped,
            what: "ICMP errors such as \"fragmentation needed\", which answers from \(vip) depend on,",
            packet: packet(Self.icmp, type: 3, state: "related"))
        let echo = PacketClass(
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
            PacketClass(
                fault: .firewallVIP, what: "answers (\(number == Self.udp ? "UDP" : "TCP")) from \(vip)",
                packet: packet(number))
        }
        let echo = PacketClass(
            fault: .icmpDropped,
            what: "echo replies from \(vip), which the default check of UDP and any-port services waits for,",
            packet: packet(Self.icmp, type: 0))
        return (data + (isCheckedByEcho ? [echo] : [])).compactMap { entry in
            guard let drop = firewall.drop(of: entry.packet, at: [.output, .postrouting]) else { return nil }
            return Finding(
                entry.fault, "\(entry.what) are dropped by \(drop.text)",
                fix: drop.accept("ip saddr \(vip)", iptables: "-s \(vip)"))
        }
    }

    func echoFindings() -> [Finding] {
        guard ignoresEcho, isCheckedByEcho else { return [] }
        return [
            Finding(
                .icmpDropped,
                "icmp_echo_ignore_all is 1 on this host: echo requests, the default check of UDP and any-port services, get no answer",
                fix: "sysctl -w net.ipv4.icmp_echo_ignore_all=0, or on the director another "
                    + Options.check.flagName)
        ]
    }

    private func describe(_ source: IPAddress?) -> String { source.map { "\($0)" } ?? "anywhere" }
}

/// The fault of a service that does not listen where clients' packets arrive.
extension RealServerFacts {
    func serviceFindings() -> [Finding] {
        vips.compactMap { vip in
            let candidates = sockets.filter { port == nil || $0.port == port }
            if candidates.contains(where: { $0.address == nil || $0.address == vip }) { return nil }
            // The other destination may be on another host.
            if translation(to: vip, port: port) != nil { return nil }
            let elsewhere = Set(candidates.filter { $0.address?.isLoopback != true }.map(\.description)).sorted()
            let what = port.map { "port \($0)" } ?? "any port"
            return Finding(
                .serviceNotBound,
                "nothing listens at \(what) of \(vip) or of the wildcard address"
                    + (elsewhere.isEmpty ? "" : ", only at \(elsewhere.prefix(8).joined(separator: ", "))"),
                fix:
                    "have the service listen on \(vip)\(port.map { ":\($0)" } ?? "") or on 0.0.0.0 (ss -ltnup shows all listeners)"
            )
        }
    }
}
