import Addresses
import HostState
import Netlink
import RealServerSetup

/// Where the VIPs are, and what networkd would make of them.
extension RealServerFacts {
    func addressFindings() -> [Finding] { vips.flatMap(findings) + networkdFindings() }

    private func findings(of vip: IPAddress) -> [Finding] {
        let entries = addresses.filter { $0.address == vip }
        if entries.isEmpty {
            return [
                Finding(
                    .vipMissing, "\(vip) is no address of this host, so that unwrapped packets are nobody's",
                    fix: "ip addr add \(vip)/32 dev tunl0", repair: .setUp)
            ]
        }
        return entries.compactMap { entry in
            let name = name(entry.interface)
            if lan.contains(where: { $0.index == entry.interface }), entry.prefixLength < 32, !entry.isSecondary {
                return Finding(
                    .vipOnLAN, "\(vip)/\(entry.prefixLength) is this host's own address on \(name), and no VIP",
                    fix: "ipvsd realserver-setup --vip with the address that clients ask the director for")
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
                // On any other device it has a purpose that is not ours.
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
                        "systemd-networkd manages tunl0 by \(path) and will remove \(lost.map { "\($0)" }.joined(separator: ", "))",
                        fix: "write KeepConfiguration=static below [Network] in \(path), or have it not match tunl0"))
            }
        }
        return findings
    }
}

/// Who answers ARP for the VIPs, and who names them in requests.
extension RealServerFacts {
    /// 1: only on the interface that has the address; 2: and from its subnet; 8: never.
    private static let silent: Set<Int> = [1, 2, 8]

    func arpFindings() -> [Finding] {
        // A VIP outside of the link's subnets is asked for by nobody there, but sysctls are set once for all of them.
        let findings = lan.flatMap { link -> [Finding] in
            var findings: [Finding] = []
            let ignore = larger("arp_ignore", of: link.name)
            if !Self.silent.contains(ignore) {
                findings.append(
                    Finding(
                        .arpIgnore,
                        "arp_ignore is \(ignore) on \(link.name) (the larger of all's and its own), so that this host answers ARP for the VIP and draws its traffic past the director",
                        fix: "sysctl -w \(settings(of: "arp_ignore", link, to: 1))",
                        repair: .steps(steps(of: "arp_ignore", link, to: "1"))))
            }
            let announce = larger("arp_announce", of: link.name)
            if announce != 2 {
                findings.append(
                    Finding(
                        .arpAnnounce,
                        "arp_announce is \(announce) on \(link.name) (the larger of all's and its own), so that ARP requests name the VIP as this host's",
                        fix: "sysctl -w \(settings(of: "arp_announce", link, to: 2))",
                        repair: .steps(steps(of: "arp_announce", link, to: "2"))))
            }
            return findings
        }
        return findings + vipOwners.compactMap(finding)
    }

    private func keys(of name: String, _ link: Link, to value: Int) -> [String] {
        // The own one only where all's cannot outdo it.
        let isAbove = sysctls["\(link.name)/\(name)"] ?? 0 > value
        return ["all"] + (isAbove ? [link.name] : [])
    }

    private func settings(of name: String, _ link: Link, to value: Int) -> String {
        keys(of: name, link, to: value).map { "net/ipv4/conf/\($0)/\(name)=\(value)" }.joined(separator: " ")
    }

    private func steps(of name: String, _ link: Link, to value: String) -> [Step] {
        keys(of: name, link, to: Int(value) ?? 0).map { .setSysctl("net/ipv4/conf/\($0)/\(name)", to: value) }
    }

    /// Whether the director that was named may stand by for another one, which has the VIP.
    var mayHaveActiveDirector: Bool {
        !directorMACs.isEmpty && vipOwners.contains { $0.macs.count == 1 && !directorMACs.contains($0.macs[0]) }
    }

    /// RFC 9568 section 7.3: only a router has the MAC of a virtual one.
    private static func isVirtualRouter(_ mac: MACAddress) -> Bool { mac.bytes.starts(with: [0, 0, 0x5e, 0, 1]) }

    private func finding(_ owners: VIPOwners) -> Finding? {
        let foreign = owners.macs.filter { !directorMACs.contains($0) }
        // Without the director's name, one answer is taken for its.
        guard directorMACs.isEmpty ? owners.macs.count > 1 : !foreign.isEmpty else { return nil }
        // The active director of a pair, of which the other one was named.
        if owners.macs.count == 1, tunnellers.contains(foreign[0]) || Self.isVirtualRouter(foreign[0]) { return nil }
        let list = foreign.map { "\($0)" }.joined(separator: ", ")
        let director = director.map { directorMACs.isEmpty ? "" : ", and \($0) is not there" } ?? ""
        return Finding(
            .vipAnswered,
            "ARP for \(owners.vip) on \(owners.interface) is answered by \(list)\(director): \(directorMACs.isEmpty ? "more than one host" : "not by the director alone")",
            fix: "on the host of that MAC address: ipvsd realserver-setup --vip \(owners.vip), or take the address away"
        )
    }
}
