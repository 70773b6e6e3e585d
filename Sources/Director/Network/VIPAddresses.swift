internal import Addresses
internal import DataPlane
internal import HostState
internal import Logging
internal import Netlink
internal import ServiceConfiguration

/// The VIPs as addresses of this machine's interfaces. The journal names the VIPs that the director has put there.
struct VIPAddresses {
    /// The results of the repair of missing VIPs.
    struct Repairs {
        var restored: [(vip: IPAddress, resource: ManagedResource)] = []
        var failed: [(resource: ManagedResource, error: any Error)] = []
    }

    /// The result of a change of the addresses.
    struct Placement {
        /// Whether the kernel may choose other sources for packets to real servers.
        var hasOtherSources = false
        /// The first error, or nil. An error of one VIP does not prevent the changes of the others.
        var failure: (any Error)?
    }

    let network: any Network

    /// Puts the VIPs on the interfaces, and removes the VIPs of an earlier configuration. `links` are the machine's
    /// present links, as the MAC address of a bridge or a bond may have changed.
    func place(
        for configuration: DirectorConfiguration, on dataPlane: any DataPlane, links: [Link], journal: ChangeJournal
    ) throws -> Placement {
        let addresses = try network.addresses()
        let interfaces = dataPlane.interfaces.map { known in links.first { $0.index == known.index } ?? known }
        var homes: [IPAddress: Link] = [:]
        for vip in configuration.vips { homes[vip] = VIPScope.home(of: vip, among: interfaces, addresses) }
        var failures: [any Error] = []
        for change in journal.changes {
            if case .address(let interface, let address, _, _) = change,
                !configuration.managesAddress
                    || homes[address].map({ Change.Interface($0).isSame(as: interface) }) != true
            {
                do { try journal.undo(change) } catch { failures.append(error) }
            }
        }
        guard configuration.managesAddress else { return Placement(failure: failures.first) }
        let (present, hasOtherSources) = try VIPScope.correctScopes(
            homes, journal: journal, in: network, refuge: dataPlane.refuge)
        let missing = homes.filter { !present.contains($0.key) }.sorted { $0.key < $1.key }
        do {
            let changes = missing.map { Change.address(interface: .init($1), address: $0, prefixLength: 32) }
            try journal.make(changes) {
                // A VIP that fails stays in the journal, and is tried again like a missing VIP.
                for (vip, link) in missing {
                    do { try VIPScope.place(vip, on: link, in: network) } catch { failures.append(error) }
                }
            }
        } catch { failures.insert(error, at: 0) }
        return Placement(hasOtherSources: hasOtherSources, failure: failures.first)
    }

    /// Puts back missing VIPs that the director had placed. Leaves other VIPs alone, as another holder, such as
    /// keepalived, may remove its own.
    func restore(
        for configuration: DirectorConfiguration, on dataPlane: any DataPlane, journal: ChangeJournal
    ) throws -> Repairs {
        var repairs = Repairs()
        guard configuration.managesAddress else { return repairs }
        var homes: [IPAddress: Change.Interface] = [:]
        for case .address(let interface, let vip, _, _) in journal.changes { homes[vip] = interface }
        // A VIP that a change of its scope has left on the refuge is missing, too.
        let refuge = dataPlane.refuge?.index
        let present = try network.addresses().filter { $0.interface != refuge }.map(\.address)
        let missing = configuration.vips.intersection(homes.keys).subtracting(present)
        guard !missing.isEmpty else { return repairs }
        let links = try network.links()
        for vip in missing.sorted() {
            guard let link = homes[vip]?.find(among: links) else { continue }
            let resource = ManagedResource("address \(vip)/32 on \(link.name)")
            do {
                try journal.make(.address(interface: .init(link), address: vip, prefixLength: 32)) {
                    try VIPScope.place(vip, on: link, in: network)
                }
                if let refuge { try network.removeAddress(vip, from: refuge) }
                repairs.restored.append((vip, resource))
            } catch { repairs.failed.append((resource, error)) }
        }
        return repairs
    }

    /// Sends gratuitous ARP. From it, neighbours that have another holder's MAC for a VIP learn this machine's MAC.
    func announce(for configuration: DirectorConfiguration, on links: [Link]) -> NetworkFindings {
        var findings = NetworkFindings()
        guard configuration.managesAddress else { return findings }
        let vips = configuration.vips.compactMap(\.v4).sorted()
        for link in links where link.address != nil {
            let (sent, error) = network.announce(vips, on: link)
            guard sent < vips.count else { continue }
            let rest = vips.count - sent > 1 ? " and \(vips.count - sent - 1) more" : ""
            let reason = error ?? "no reason known"
            findings.log(
                .warning, "announce \(vips[sent])\(rest) on \(link.name): \(reason)",
                ["address": "\(vips[sent])", "interface": "\(link.name)", "error": "\(reason)"])
        }
        return findings
    }
}
