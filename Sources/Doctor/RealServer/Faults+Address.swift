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
