import Addresses
import HostState
import Netlink
import RealServerSetup

/// The faults of the VIPs as addresses.
extension RealServerFacts {
    func addressFindings() -> [Finding] { vips.flatMap(findings) + networkdFindings() }

    private func findings(of vip: IPAddress) -> [Finding] {
        let entries = addresses.filter { $0.address == vip }
        if entries.isEmpty {
            return [
                Finding(
                    .vipMissing, "\(vip) is no address of this host, so that it drops decapsulated packets for it",
                    fix: "ip addr add \(vip)/32 dev tunl0", repair: .setUp)
            ]
        }
        return entries.compactMap { entry in
            let name = name(entry.interface)
            if lan.contains(where: { $0.index == entry.interface }), entry.prefixLength < 32, !entry.isSecondary {
                return Finding(
                    .vipOnLAN, "\(vip)/\(entry.prefixLength) is this host's own address on \(name), and no VIP",
                    fix: "ipvsd realserver-setup --vip VIP, with the address that clients connect to")
            }
            if lan.contains(where: { $0.index == entry.interface }) {
                return Finding(
                    .vipOnLAN, "\(vip)/\(entry.prefixLength) is on \(name), where the host answers ARP for it",
                    fix: "ip addr del \(vip)/\(entry.prefixLength) dev \(name), then \(setUpCommand)")
            }
            guard entry.prefixLength != 32 else { return nil }
            return Finding(
                .vipPrefix,
                "\(vip) has the prefix length \(entry.prefixLength) on \(name), which draws its whole network there",
                fix: "ip addr del \(vip)/\(entry.prefixLength) dev \(name) && ip addr add \(vip)/32 dev tunl0",
                // On another device the address has a purpose that is unknown here.
                repair: [Self.device, "lo"].contains(name)
                    ? .stepsAndSetUp([.removeAddress(entry, from: name)]) : nil)
        }
    }

    private func networkdFindings() -> [Finding] {
        guard networkd.isRunning else { return [] }
        var findings: [Finding] = []
        if let tunnel, let (path, settings) = networkd.network(of: tunnel.name, kind: tunnel.kind) {
            let isUnmanaged = settings.values("Link", "Unmanaged").last.map(Networkd.Settings.isTrue) ?? false
            let keeps = ["yes", "static", "true", "on", "1"].contains(
                settings.values("Network", "KeepConfiguration").last?.lowercased() ?? "no")
            let own = Set(
                (settings.values("Network", "Address") + settings.values("Address", "Address")).map {
                    String($0.prefix { $0 != "/" })
                })
            let lost = vips.filter { vip in
                !own.contains("\(vip)") && addresses.contains { $0.address == vip && $0.interface == tunnel.index }
            }
            if !isUnmanaged, !keeps, !lost.isEmpty {
                findings.append(
                    Finding(
                        .networkdAddresses,
                        "systemd-networkd manages tunl0 by \(path) and will remove \(lost.map { "\($0)" }.joined(separator: ", ")) from it",
                        fix: "write KeepConfiguration=static below [Network] in \(path), then networkctl reload"))
            }
        }
        return findings
    }
}

/// The faults of ARP for the VIPs.
extension RealServerFacts {
    /// The values of arp_ignore by which the host does not answer for the VIPs. 1: it answers only on the interface
    /// with the address. 2: the sender must also be in the address's subnet. 8: it never answers.
    private static let silent: Set<Int> = [1, 2, 8]

    func arpFindings() -> [Finding] {
        // No host requests a VIP outside of the link's subnets, but the sysctls are set for all interfaces.
        let findings = lan.flatMap { link -> [Finding] in
            var findings: [Finding] = []
            let ignore = larger("arp_ignore", of: link.name)
            if !Self.silent.contains(ignore) {
                findings.append(
                    Finding(
                        .arpIgnore,
                        "arp_ignore is \(ignore) on \(link.name) (the larger of all's and its own), so that this host answers ARP for the VIP, and clients send past the director",
                        fix: "sysctl -w \(settings(of: "arp_ignore", link, to: 1))",
                        repair: .steps(steps(of: "arp_ignore", link, to: "1"))))
            }
            let announce = larger("arp_announce", of: link.name)
            if announce != 2 {
                findings.append(
                    Finding(
                        .arpAnnounce,
                        "arp_announce is \(announce) on \(link.name) (the larger of all's and its own), so that its ARP requests may have the VIP as their sender",
                        fix: "sysctl -w \(settings(of: "arp_announce", link, to: 2))",
                        repair: .steps(steps(of: "arp_announce", link, to: "2"))))
            }
            return findings
        }
        return findings + vipOwners.compactMap(finding)
    }

    private func keys(of name: String, _ link: Link, to value: Int) -> [String] {
        // The interface's own value is set only where it is larger than the new value of "all".
        let isAbove = sysctls["\(link.name)/\(name)"] ?? 0 > value
        return ["all"] + (isAbove ? [link.name] : [])
    }

    private func settings(of name: String, _ link: Link, to value: Int) -> String {
        keys(of: name, link, to: value).map { "net/ipv4/conf/\($0)/\(name)=\(value)" }.joined(separator: " ")
    }

    private func steps(of name: String, _ link: Link, to value: String) -> [Step] {
        keys(of: name, link, to: Int(value) ?? 0).map { .setSysctl("net/ipv4/conf/\($0)/\(name)", to: value) }
    }

    /// Whether the named director may stand by for another director, which has the VIP.
    var mayHaveActiveDirector: Bool {
        !directorMACs.isEmpty && vipOwners.contains { $0.macs.count == 1 && !directorMACs.contains($0.macs[0]) }
    }

    /// Whether the MAC address is a virtual router's (RFC 9568 section 7.3).
    private static func isVirtualRouter(_ mac: MACAddress) -> Bool { mac.bytes.starts(with: [0, 0, 0x5e, 0, 1]) }

    private func finding(_ owners: VIPOwners) -> Finding? {
        let foreign = owners.macs.filter { !directorMACs.contains($0) }
        // Without a named director, a single answer counts as the director's.
        guard directorMACs.isEmpty ? owners.macs.count > 1 : !foreign.isEmpty else { return nil }
        // The answer is from the active director of a pair, of which the other director was named.
        if owners.macs.count == 1, tunnellers.contains(foreign[0]) || Self.isVirtualRouter(foreign[0]) { return nil }
        let list = foreign.map { "\($0)" }.joined(separator: ", ")
        let director = director.map { directorMACs.isEmpty ? "" : ", and \($0) is not there" } ?? ""
        return Finding(
            .vipAnswered,
            "ARP for \(owners.vip) on \(owners.interface) is answered by \(list)\(director): \(directorMACs.isEmpty ? "more than one host" : "not by the director alone")",
            fix:
                "on the host of that MAC address: ipvsd realserver-setup --vip \(owners.vip), or ip addr del \(owners.vip)/32 dev DEVICE"
        )
    }
}
