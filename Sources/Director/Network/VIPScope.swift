internal import Addresses
internal import HostState
internal import LoadBalancing
internal import Netlink

/// The scope of VIPs on their interface, which is `host`. The kernel answers ARP for such addresses, and routing
/// daemons see them. The kernel never chooses such an address as the source of this machine's own packets
/// (inet_select_addr). It would choose a VIP of scope `link` for destinations on the link. It would choose a VIP of
/// scope `global` where the machine's own address is a /32, on `lo`, or added later.
enum VIPScope {
    /// Returns `host`, or `link` where arp_ignore is 3. With that value the kernel does not answer ARP for addresses of
    /// scope `host`.
    static func wanted(on link: Link, in network: any Network) -> UInt8 {
        let values = ["all", link.name].compactMap { network.parameter("conf/\($0)/arp_ignore") }
        return values.max() == "3" ? RouteScope.link : RouteScope.host
    }

    static func place(_ vip: IPAddress, on link: Link, in network: any Network) throws {
        try network.addAddress(vip, on: link.index, scope: wanted(on: link, in: network))
    }

    /// Replaces the journal's VIPs that have another scope than wanted, as from earlier versions. A scope cannot change
    /// in place. Returns the machine's addresses except on `refuge`, and whether any scope has changed. After a change,
    /// the kernel may choose other sources.
    static func correctScopes(
        _ homes: [IPAddress: Link], journal: ChangeJournal, in network: any Network, refuge: Link?
    ) throws -> (present: Set<IPAddress>, hasChanged: Bool) {
        let present = try network.addresses()
        // A daemon that was killed in `replace` has left VIPs on the refuge.
        for entry in present where entry.interface == refuge?.index && homes[entry.address] != nil {
            try network.removeAddress(entry.address, from: entry.interface)
        }
        var hasChanged = false
        for entry in present where entry.prefixLength == 32 {
            guard let home = homes[entry.address], home.index == entry.interface,
                entry.scope != wanted(on: home, in: network),
                journal.entry(for: .address(interface: .init(home), address: entry.address, prefixLength: 32)) != nil
            else { continue }
            try replace(entry, on: home, in: network, refuge: refuge)
            hasChanged = true
        }
        return (Set(present.filter { $0.interface != refuge?.index }.map(\.address)), hasChanged)
    }

    /// Deletes and adds a VIP. Meanwhile the VIP is on `refuge`, and so stays local: packets for the machine's own
    /// sockets are not lost. `refuge` is not the device to which checks' sockets are bound, as their packets would
    /// reach this machine then. On an error the VIP gets its former scope again. Where that fails, too, it stays on
    /// `refuge`.
    private static func replace(
        _ entry: InterfaceAddress, on link: Link, in network: any Network, refuge: Link?
    ) throws {
        let vip = entry.address
        if let refuge {
            try network.addAddress(vip, on: refuge.index, scope: RouteScope.host)
        }
        do {
            try network.removeAddress(vip, from: link.index)
            try place(vip, on: link, in: network)
        } catch {
            try network.addAddress(vip, on: link.index, scope: entry.scope)
            if let refuge { try network.removeAddress(vip, from: refuge.index) }
            throw error
        }
        if let refuge { try network.removeAddress(vip, from: refuge.index) }
    }

    /// Returns the interface for a VIP. It is the first interface with an address in the longest subnet that contains
    /// the VIP, else the first of all. Nil without interfaces.
    static func home(of vip: IPAddress, among links: [Link], _ addresses: [InterfaceAddress]) -> Link? {
        let subnet = addresses.filter { entry in
            entry.prefixLength < 32 && entry.contains(vip) && links.contains { $0.index == entry.interface }
        }
        let longest = subnet.map(\.prefixLength).max()
        let homes = Set(subnet.filter { $0.prefixLength == longest }.map(\.interface))
        return links.first { homes.contains($0.index) } ?? links.first
    }
}
