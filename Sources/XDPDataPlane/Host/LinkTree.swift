internal import DataPlane
internal import Netlink

/// The machine's network devices, with the devices below and above each.
struct LinkTree: Sendable {
    private let links: [Link]

    init() throws(NetlinkError) { links = try RouteSocket().links() }

    init(_ links: [Link]) { self.links = links }

    /// Returns the link of that name, or else the one with that alternative name; nil where there is neither.
    func link(named name: String) -> Link? { links.called(name) }

    func link(index: Int32) -> Link? { links.first { $0.index == index } }

    var all: [Link] { links }

    var names: [String] { links.filter { !$0.isLoopback }.map(\.name) }

    /// Returns the devices that see an interface's frames first, whole and with their tags. For a VLAN device it is the
    /// device below, for a bridge its ports. A bond itself takes an XDP program, and passes it to its members.
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

    /// Returns the devices by which a device's frames come in: the members of a bond, or else the device itself.
    func members(of device: Link) -> [Link] { device.kind == "bond" ? ports(of: device) : [device] }

    /// Whether the interface's frames come in by one of the devices. The interface then is such a device, is on top of
    /// one, or has one as a port or member. At most `depth` steps down are followed.
    func isReached(_ link: Link, by devices: Set<Int32>, depth: Int = 8) -> Bool {
        if devices.contains(link.index) { return true }
        guard depth > 0 else { return false }
        // A tunnel's device is left out, as its packets have another form on the device below.
        let sits = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"].contains(link.kind ?? "")
        let below = ports(of: link) + (sits ? [link.lower.flatMap(self.link(index:))].compactMap(\.self) : [])
        return below.contains { isReached($0, by: devices, depth: depth - 1) }
    }

    /// Whether packets reach the machine's own stack by this interface itself, and not by a bridge or bond above it.
    func isWhole(_ link: Link) -> Bool {
        link.master == nil || vrf(of: link) != nil
    }

    /// Returns the VRF that the interface is a part of; nil where there is none.
    func vrf(of link: Link) -> Link? { link.master.flatMap(self.link(index:)).flatMap { $0.kind == "vrf" ? $0 : nil } }

    private func ports(of master: Link) -> [Link] { links.filter { $0.master == master.index } }

    /// Whether a VLAN device is on top of one of these devices, so that tags show where a frame belongs.
    func hasTags(on devices: [Link]) -> Bool {
        let indices = Set(devices.map(\.index))
        return links.contains { link in
            link.kind == "vlan" && (try? self.devices(of: link))?.contains { indices.contains($0.index) } == true
        }
    }

    /// Returns the devices whose frames come in by the interface: itself, and the devices on it, such as keepalived's
    /// macvlans. A macvtap is left out, as it has the MAC of a virtual machine.
    func receivers(of link: Link) -> [Link] {
        [link] + links.filter { $0.lower == link.index && $0.kind != "macvtap" }
    }

    func isBridged(_ link: Link) -> Bool {
        if link.kind == "vlan", let lower = link.lower.flatMap(self.link(index:)) { return isBridged(lower) }
        return link.kind == "bridge"
    }
}
