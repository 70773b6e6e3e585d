import Addresses
import Netlink
import RealServerSetup

/// What is wrong with a real server, the root of the matter first. Facts in, findings out.
extension RealServerFacts {
    public func findings() -> [Finding] {
        let all =
            interfaceFindings() + tunnelFindings() + secondTunnelFindings() + addressFindings() + filterFindings()
            + arpFindings() + firewallFindings() + directorFindings() + outerSourceFindings() + returnFindings()
            + echoFindings() + segmentFindings() + serviceFindings() + forwardingFindings()
        // iptables-nft's rules are in nft's list as well.
        var seen: Set<String> = []
        return all.filter { finding in
            let isFirewall = [.firewallTunnel, .firewallInvalid, .firewallVIP, .icmpDropped].contains(finding.fault)
            return seen.insert(isFirewall ? finding.fault.rawValue : finding.fault.rawValue + finding.seen).inserted
        }
    }
}

/// tunl0 itself, and who else takes its packets.
extension RealServerFacts {
    func tunnelFindings() -> [Finding] {
        guard let tunnel else {
            var findings = [
                Finding(.tunnelMissing, "there is no tunl0 to unwrap IPIP", fix: setUpCommand, repair: .setUp)
            ]
            if !hasModule {
                findings.append(
                    Finding(
                        .moduleMissing, "the kernel module ipip is neither loaded nor to be found",
                        fix:
                            "modprobe ipip (of the package linux-modules-extra on some systems), or \(setUpCommand), which does without",
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
                    .programMissing, "this kernel has no ipip, and no program on \(link.name) unwraps instead of it",
                    fix: setUpCommand, repair: .setUp)
            }
        }
        return findings
    }

    /// Whether tunnelled packets are to come in there: the director's way says so, or else realserver-setup.
    private func isIngress(_ link: Link) -> Bool {
        if let near = director.flatMap(interface(toward:)) { return near.index == link.index }
        if let wayToDirector, lan.contains(where: { $0.index == wayToDirector.interface }) {
            return wayToDirector.interface == link.index
        }
        return ingress.isEmpty || ingress.contains(link.name)
    }

    /// Where unwrapped packets come out: the kernel hands a packet to the tunnel whose ends fit best, and tunl0 fits worst.
    var claimants: [Tunnel] { tunnels.filter { $0.isUp && $0.name != Self.device && claims($0) } }

    /// The VIP is local whichever device it comes out of, so that another one is a fault only where that one's filter
    /// drops what tunl0's would let in.
    func secondTunnelFindings() -> [Finding] {
        claimants.filter { larger("rp_filter", of: $0.name) == 1 }.map { other in
            Finding(
                .secondTunnel,
                "\(other.kind) device \(other.name) (local \(describe(other.local)), remote \(describe(other.remote))) takes the director's packets before tunl0 does, and rp_filter is 1 there: every client's packet is dropped",
                fix: "sysctl -w net.ipv4.conf.\(other.name).rp_filter=2, or ip link set \(other.name) down")
        }
    }

    private func claims(_ other: Tunnel) -> Bool {
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
                fix: "ip link set DEVICE up, and give it an address")
        ]
    }

    var setUpCommand: String {
        "ipvsd realserver-setup --vip \(vips.map { "\($0)" }.joined(separator: ","))"
    }
}
