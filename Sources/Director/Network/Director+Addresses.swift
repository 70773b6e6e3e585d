internal import DataPlane
internal import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink
internal import ServiceConfiguration

/// The VIPs as addresses of this machine.
extension Director {
    /// Puts the VIPs on the interfaces, and takes off those that an earlier configuration had put there.
    func placeAddresses(journal: ChangeJournal) throws {
        guard let dataPlane = running?.dataPlane else { return }
        let addresses = try network.addresses()
        // Both as they are now: the MAC address of a bridge or a bond may have changed.
        let links = try network.links()
        followNames(in: journal, links)
        let interfaces = dataPlane.interfaces.map { known in links.first { $0.index == known.index } ?? known }
        var homes: [IPv4Address: Link] = [:]
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
        if configuration.managesAddress {
            let (present, hasOtherSources) = try VIPScope.settle(
                homes, journal: journal, in: network, refuge: dataPlane.refuge)
            if hasOtherSources { refreshPaths() }
            let missing = homes.filter { !present.contains($0.key) }.sorted { $0.key < $1.key }
            try journal.make(
                missing.map { (.address(interface: .init($1), address: $0, prefixLength: 32), ($0, $1)) }
            ) { vip, link in
                // One that fails stays in the journal: it is tried again as one that was taken away.
                do { try VIPScope.place(vip, on: link, in: network) } catch { failures.append(error) }
            }
        }
        if let failure = failures.first { throw failure }
    }

    func announce() {
        for link in running?.dataPlane.interfaces ?? [] { announce(on: link) }
    }

    /// Gratuitous ARP: neighbours that knew another holder of a VIP learn of this one.
    func announce(on link: Link) {
        guard configuration.managesAddress, link.address != nil else { return }
        let vips = configuration.vips.sorted()
        let (sent, error) = network.announce(vips, on: link)
        if sent < vips.count {
            let rest = vips.count - sent > 1 ? " and \(vips.count - sent - 1) more" : ""
            logger.warning("announce \(vips[sent])\(rest) on \(link.name): \(error ?? "no reason known")")
        }
    }

    /// Puts back VIPs that somebody took away.
    func keepAddresses() throws {
        guard configuration.managesAddress, let current = running else { return }
        // Just those that it put there: another holder, such as keepalived, takes its own away when it likes.
        var homes: [IPv4Address: Change.Interface] = [:]
        for case .address(let interface, let vip, _, _) in current.journal.changes { homes[vip] = interface }
        // One that a replacement of its scope has left there is nowhere else.
        let refuge = current.dataPlane.refuge?.index
        let present = try network.addresses().filter { $0.interface != refuge }.map(\.address)
        let missing = configuration.vips.intersection(homes.keys).subtracting(present)
        guard !missing.isEmpty else { return }
        let links = try network.links()
        var restored: [(vip: IPv4Address, resource: ManagedResource)] = []
        for vip in missing.sorted() {
            guard let link = homes[vip]?.find(among: links) else { continue }
            let resource = ManagedResource("address \(vip)/32 on \(link.name)")
            do {
                try current.journal.make(.address(interface: .init(link), address: vip, prefixLength: 32)) {
                    try VIPScope.place(vip, on: link, in: network)
                }
                if let refuge { try network.removeAddress(vip, from: refuge) }
                restored.append((vip, resource))
            } catch { failed(resource, error) }
        }
        guard !restored.isEmpty else { return }
        announce()
        tellRestored(restored.map(\.resource)) { service in
            let vips = Set(service.listeners.map(\.vip))
            return Set(restored.filter { vips.contains($0.vip) }.map(\.resource))
        }
    }
}
