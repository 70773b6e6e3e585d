import Addresses

/// The faults of the director's own packet filter. The filter sees only packets that the kernel forwards or delivers.
/// XDP takes all other packets before.
extension DirectorFacts {
    private static let device = "ipvsd0"

    func firewallFindings() -> [Finding] {
        let dropped = firewalls.compactMap(fragmentFinding).prefix(1)
        let checks = checkPath.carriesChecks ? firewalls.compactMap(checkFinding).prefix(1) : []
        return Array(dropped + checks)
    }

    /// Returns the fault of a filter that drops encapsulated packets that are too long. Such packets come in on ipvsd0,
    /// and the kernel forwards them in fragments.
    private func fragmentFinding(_ firewall: Firewall) -> Finding? {
        for server in servers {
            let packet = Firewall.Packet(
                protocolNumber: 4, input: Self.device, output: server.interface, destination: server.address,
                state: "new")
            guard let drop = firewall.drop(of: packet, at: [.prerouting, .forward]) else { continue }
            return Finding(
                .fragmentingBroken,
                "packets to \(server.address) that are too big for the tunnel and may be fragmented are dropped by \(drop.text)",
                fix: drop.accept(from: Self.device))
        }
        return nil
    }

    private func checkFinding(_ firewall: Firewall) -> Finding? {
        for vip in vips {
            for (number, request, reply): (UInt8, UInt8?, UInt8?) in [(6, nil, nil), (1, 8, 0)] {
                let asked = Firewall.Packet(
                    protocolNumber: number, output: Self.device, destination: vip, icmpType: request, state: "new")
                let answered = Firewall.Packet(
                    protocolNumber: number, input: Self.device, source: vip, icmpType: reply, state: "established")
                let what = "health checks by \(number == 6 ? "TCP" : "ICMP echo")"
                if let drop = firewall.drop(of: asked, at: [.output, .postrouting]) {
                    return Finding(
                        .checkPathBroken, "\(what) of \(vip) on ipvsd0 are dropped by \(drop.text)",
                        fix: drop.accept("oifname \(Self.device)", iptables: "-o \(Self.device)"))
                }
                if let drop = firewall.drop(of: answered, at: [.prerouting, .input]) {
                    return Finding(
                        .checkPathBroken,
                        "answers to \(what) from \(vip) on ipvsd0 are dropped by \(drop.text)",
                        fix: drop.accept(from: Self.device))
                }
            }
        }
        return nil
    }
}
