import LoadBalancing
import Netlink

/// What the packet filter would do with the director's and the clients' packets.
extension RealServerFacts {
    private static let ipip: UInt8 = 4
    private static let tcp: UInt8 = 6

    func firewallFindings() -> [Finding] {
        firewalls.flatMap { firewall in
            [outer(firewall), invalid(firewall), inner(firewall)].compactMap(\.self)
        }
    }

    private func outer(_ firewall: Firewall) -> Finding? {
        for link in lan {
            let own = addresses.first { $0.interface == link.index }?.address
            let packet = { (source: IPv4Address?) in
                Firewall.Packet(
                    protocolNumber: Self.ipip, input: link.name, output: nil, source: source, destination: own,
                    destinationPort: nil, state: "new")
            }
            let hooks: [Firewall.Hook] = [.ingress, .prerouting, .input]
            let isTheWay = director.flatMap(interface(toward:)).map { $0.index == link.index } ?? true
            guard isTheWay else { continue }
            if let drop = firewall.drop(of: packet(director), at: hooks) {
                return Finding(
                    .firewallTunnel,
                    "protocol 4 (IPIP) from \(describe(director)) is dropped by \(drop.text)\(standInRemark)",
                    fix: "nft insert rule \(chain(of: drop)) ip protocol 4 accept, or iptables -I INPUT -p 4 -j ACCEPT")
            }
            if let outerSources, let drop = firewall.drop(of: packet(outerSources.address), at: hooks) {
                return Finding(
                    .outerSourceFiltered,
                    "IPIP from the outer sources \(outerSources) is dropped by \(drop.text)\(standInRemark)",
                    fix: "nft insert rule \(chain(of: drop)) ip protocol 4 ip saddr \(outerSources) accept")
            }
        }
        return nil
    }

    private func invalid(_ firewall: Firewall) -> Finding? {
        for vip in vips {
            let incoming = Firewall.Packet(
                protocolNumber: Self.tcp, input: Self.device, output: nil, source: nil, destination: vip,
                destinationPort: port, state: "invalid")
            let outgoing = Firewall.Packet(
                protocolNumber: Self.tcp, input: nil, output: lan.first?.name, source: vip, destination: nil,
                destinationPort: nil, state: "invalid")
            let drops = [
                firewall.drop(of: incoming, at: [.prerouting, .input]),
                firewall.drop(of: outgoing, at: [.output, .postrouting]),
            ]
            for drop in drops.compactMap(\.self) where drop.isByState {
                return Finding(
                    .firewallInvalid,
                    "what conntrack calls invalid is dropped by \(drop.text): connections that moved here from another real server, and their RSTs",
                    fix:
                        "nft insert rule \(chain(of: drop)) iifname tunl0 accept, or iptables -I INPUT -i tunl0 -j ACCEPT (for output: ip saddr \(vip))"
                )
            }
        }
        return nil
    }

    private func inner(_ firewall: Firewall) -> Finding? {
        for vip in vips {
            for device in [Self.device] + claimants.map(\.name) {
                let packet = Firewall.Packet(
                    protocolNumber: Self.tcp, input: device, output: nil, source: nil, destination: vip,
                    destinationPort: port, state: "new")
                guard let drop = firewall.drop(of: packet, at: [.prerouting, .input]) else { continue }
                return Finding(
                    .firewallVIP,
                    "unwrapped packets for \(vip)\(port.map { ":\($0)" } ?? "") on \(device) are dropped by \(drop.text)",
                    fix:
                        "nft insert rule \(chain(of: drop)) iifname \(device) accept, or iptables -I INPUT -i \(device) -j ACCEPT"
                )
            }
        }
        return nil
    }

    private func describe(_ source: IPv4Address?) -> String { source.map { "\($0)" } ?? "anywhere" }

    /// "inet filter input", of "inet filter/input: …" or "policy drop of chain inet filter/input".
    private func chain(of drop: Firewall.Drop) -> String {
        let text =
            drop.text.hasPrefix("policy drop of chain ") ? drop.text.dropFirst(21) : drop.text.prefix { $0 != ":" }
        return text.split(separator: "/").joined(separator: " ")
    }
}
