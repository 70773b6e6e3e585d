import Addresses
import Netlink
import RealServerSetup

/// The diagnosis of a real server: its findings, computed from the facts. Causes come before their effects.
extension RealServerFacts {
    public func findings() -> [Finding] {
        let all =
            interfaceFindings() + tunnelFindings() + secondTunnelFindings() + addressFindings() + filterFindings()
            + arpFindings() + firewallFindings() + directorFindings() + outerSourceFindings() + returnFindings()
            + echoFindings() + segmentFindings() + serviceFindings() + forwardingFindings()
        // The rules of iptables-nft are in the list of nft as well. So each fault of the firewall is reported only
        // once.
        var seen: Set<String> = []
        return all.filter { finding in
            let isFirewall = [.firewallTunnel, .firewallInvalid, .firewallVIP, .icmpDropped].contains(finding.fault)
            return seen.insert(isFirewall ? finding.fault.rawValue : finding.fault.rawValue + finding.seen).inserted
        }
    }
}

/// The faults of tunl0, and of other tunnels that take its packets.
extension RealServerFacts {
    func tunnelFindings() -> [Finding] {
        guard let tunnel else {
            var findings = [
                Finding(.tunnelMissing, "there is no tunl0 to decapsulate IPIP", fix: setUpCommand, repair: .setUp)
            ]
            if !hasModule {
                findings.append(
                    Finding(
                        .moduleMissing, "the kernel module ipip is not loaded, and modprobe does not find it",
                        fix:
                            "modprobe ipip (package linux-modules-extra on some systems), or \(setUpCommand), which does without",
                        repair: .setUp))
            }
            return findings
        }
        guard tunnel.kind == "ipip" || tunnel.kind == "tun" && !tunnel.isEthernet else {
            return [
                Finding(
                    .tunnelKind, "tunl0 is no IPIP tunnel, but \(tunnel.kind ?? "a hardware device")",
                    fix: "ip link delete tunl0 (or rename it), then \(setUpCommand)")
            ]
        }
        var findings: [Finding] = []
        if !tunnel.isUp {
            findings.append(Finding(.tunnelDown, "tunl0 is down", fix: "ip link set tunl0 up", repair: .setUp))
        }
        if usesStandIn {
            findings += lan.filter { !programs.contains($0.name) && isIngress($0) }.map { link in
                Finding(
                    .programMissing,
                    "this kernel has no ipip, and \(link.name) has no program that decapsulates instead",
                    fix: setUpCommand, repair: .setUp)
            }
        }
        return findings
    }

    /// Whether tunnelled packets come in on the interface, according to the route to the director, or else to
    /// realserver-setup.
    private func isIngress(_ link: Link) -> Bool {
        if let near = director.flatMap(interface(toward:)) { return near.index == link.index }
        if let wayToDirector, lan.contains(where: { $0.index == wayToDirector.interface }) {
            return wayToDirector.interface == link.index
        }
        return ingress.isEmpty || ingress.contains(link.name)
    }

    /// The other tunnels that get the director's packets. The kernel delivers to the tunnel with the most specific
    /// ends, and the ends of tunl0 are the least specific.
    var competingTunnels: [Tunnel] { tunnels.filter { $0.isUp && $0.name != Self.device && competes($0) } }

    /// Returns the faults of other tunnels. The VIP is local for packets of any tunnel. So another tunnel is a fault
    /// only if its reverse-path filter drops the packets.
    func secondTunnelFindings() -> [Finding] {
        competingTunnels.filter { larger("rp_filter", of: $0.name) == 1 }.map { other in
            Finding(
                .secondTunnel,
                "\(other.kind) device \(other.name) (local \(describe(other.local)), remote \(describe(other.remote))) takes the director's packets before tunl0 does, and its rp_filter is 1: all clients' packets are dropped",
                fix: "sysctl -w net.ipv4.conf.\(other.name).rp_filter=2, or ip link set \(other.name) down")
        }
    }

    private func competes(_ other: Tunnel) -> Bool {
        if let local = other.local, !addresses.contains(where: { $0.address == .v4(local) }) { return false }
        guard let remote = other.remote else { return true }
        return .v4(remote) == director || outerSources?.contains(.v4(remote)) == true
    }

    private func describe(_ end: IPv4Address?) -> String { end.map { "\($0)" } ?? "any" }

    func interfaceFindings() -> [Finding] {
        if !lan.isEmpty { return [] }
        return [
            Finding(
                .interfaceMissing, "no Ethernet interface is up and has an IPv4 address",
                fix: "ip link set DEVICE up; ip addr add ADDRESS/LENGTH dev DEVICE")
        ]
    }

    var setUpCommand: String {
        "ipvsd realserver-setup --vip \(vips.map { "\($0)" }.joined(separator: ","))"
    }
}
