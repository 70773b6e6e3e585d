internal import Addresses
internal import HostState
internal import LoadBalancing
internal import Netlink

/// The scope of VIPs on their interface, which is `host`. The kernel answers ARP for such addresses, and routing daemons see
/// them, but the kernel never chooses one as the source of this machine's own packets (inet_select_addr). It chooses one of
/// scope `link` for destinations on the link, and one of scope `global` wherever the own address is a /32, on `lo`, or added
/// later.
enum VIPScope {
    /// Returns `link` where arp_ignore is 3: the kernel answers ARP for no address of scope `host` then.
    static func wanted(on link: Link, in network: any Network) -> UInt8 {
        let values = ["all", link.name].compactMap { network.parameter("conf/\($0)/arp_ignore") }
        return values.max() == "3" ? RouteScope.link : RouteScope.host
    }

    static func place(_ vip: IPAddress, on link: Link, in network: any Network) throws {
        try network.addAddress(vip, on: link.index, scope: wanted(on: link, in: network))
    }

    /// Puts VIPs that are in the journal with another scope, as earlier versions placed them, on their interfaces anew: a
    /// scope does not change in place. Returns the addresses that this machine has elsewhere than on `refuge`, and whether
    /// some had another scope: the kernel may choose other sources then.
    static func correctScopes(
        _ homes: [IPAddress: Link], journal: ChangeJournal, in network: any Network, refuge: Link?
    ) throws -> (present: Set<IPAddress>, hasChanged: Bool) {
        let present = try network.addresses()
        // A daemon that was killed in `replace` left them there.
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

    /// Deletes and adds a VIP. It is on `refuge` meanwhile and so stays local: what is for the machine's own sockets is not
    /// lost. `refuge` is not the device of checks, whose sockets would then reach this machine.
    /// Where that fails, the VIP has its former scope again; where that fails, too, it stays on `refuge`.
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

    /// Where a VIP goes: to the first interface of its subnet, else to the first.
    static func home(of vip: IPAddress, among links: [Link], _ addresses: [InterfaceAddress]) -> Link? {
        let subnet = addresses.filter { entry in
            entry.prefixLength < 32 && entry.contains(vip) && links.contains { $0.index == entry.interface }
        }
        let longest = subnet.map(\.prefixLength).max()
        let homes = Set(subnet.filter { $0.prefixLength == longest }.map(\.interface))
        return links.first { homes.contains($0.index) } ?? links.first
    }
}
