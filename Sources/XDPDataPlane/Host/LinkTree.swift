internal import DataPlane
internal import Netlink

/// The machine's network devices, and which of them sits on which.
struct LinkTree: Sendable {
    private let links: [Link]

    init() throws(NetlinkError) { links = try RouteSocket().links() }

    init(_ links: [Link]) { self.links = links }

    /// By its name, or else by one of its other names.
    func link(named name: String) -> Link? { links.called(name) }

    func link(index: Int32) -> Link? { links.first { $0.index == index } }

    var all: [Link] { links }

    var names: [String] { links.filter { !$0.isLoopback }.map(\.name) }

    /// The devices that see an interface's frames first, and whole, with their tags: below a VLAN device the one it
    /// sits on, of a bridge its ports. A bond takes an XDP program itself, and hands it to its members.
    func devices(of link: Link) throws(DataPlaneError) -> [Link] {
        switch link.kind {
        case "vlan":
            guard let lower = link.lower.flatMap(self.link(index:)) else {
                throw DataPlaneError(
                    .interface, "attach director to \(link.name): the device below it is in another network namespace")
            }
            return try devices(of: lower)
        case "bridge":
            var found: [Link] = []
            for port in ports(of: link) {
                for device in try devices(of: port) where !found.contains(where: { $0.index == device.index }) {
                    found.append(device)
                }
            }
            return found
        default: return [link]
        }
    }

    /// Where the frames of such a device come in: itself, or the members of a bond.
    func members(of device: Link) -> [Link] { device.kind == "bond" ? ports(of: device) : [device] }

    /// Whether the interface's frames come by one of these first: it is one, sits on one, or has one as a port or member.
    func isReached(_ link: Link, by devices: Set<Int32>, depth: Int = 8) -> Bool {
        if devices.contains(link.index) { return true }
        guard depth > 0 else { return false }
        // What a tunnel's device carries is something else below it.
        let sits = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"].contains(link.kind ?? "")
        let below = ports(of: link) + (sits ? [link.lower.flatMap(self.link(index:))].compactMap(\.self) : [])
        return below.contains { isReached($0, by: devices, depth: depth - 1) }
    }

    /// Whether packets reach the machine's own stack by this interface, and not by one that it is a part of.
    func isWhole(_ link: Link) -> Bool {
        link.master == nil || vrf(of: link) != nil
    }

    /// The VRF that the interface is a part of.
    func vrf(of link: Link) -> Link? { link.master.flatMap(self.link(index:)).flatMap { $0.kind == "vrf" ? $0 : nil } }

    private func ports(of master: Link) -> [Link] { links.filter { $0.master == master.index } }

    /// Whether a VLAN device has one of these below it: then tags tell where a frame belongs.
    func hasTags(on devices: [Link]) -> Bool {
        let indices = Set(devices.map(\.index))
        return links.contains { link in
            link.kind == "vlan" && (try? self.devices(of: link))?.contains { indices.contains($0.index) } == true
        }
    }

    /// The devices whose frames come in by the interface: itself, and those on it, such as keepalived's macvlans. A
    /// macvtap has the MAC of a virtual machine.
    func receivers(of link: Link) -> [Link] {
        [link] + links.filter { $0.lower == link.index && $0.kind != "macvtap" }
    }

    func isBridged(_ link: Link) -> Bool {
        if link.kind == "vlan", let lower = link.lower.flatMap(self.link(index:)) { return isBridged(lower) }
        return link.kind == "bridge"
    }
}
