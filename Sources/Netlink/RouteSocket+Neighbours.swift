public import Addresses
import Glibc

extension RouteSocket {
    /// The IPv4 neighbours on all interfaces.
    public func neighbours() throws(NetlinkError) -> [Neighbour] {
        try dump(Neighbour.listRequest(), "list neighbours").compactMap(Neighbour.init)
    }

    /// Nil where the kernel has no entry.
    public func neighbour(_ address: IPAddress, on interface: Int32) throws(NetlinkError) -> Neighbour? {
        try request(
            Neighbour.getRequest(address, on: interface), unless: [ENOENT],
            "look up neighbour \(address) on \(name(of: interface))"
        )?.lazy.compactMap(Neighbour.init).first
    }

    /// Has the kernel resolve the address and keep it resolved (NTF_EXT_MANAGED; before 5.16 resolve it once). An
    /// administrator's permanent entry stays as it is, since this request would make it expire. False: nothing to do.
    @discardableResult
    public func manageNeighbour(_ address: IPAddress, on interface: Int32) throws(NetlinkError) -> Bool {
        if let present = try neighbour(address, on: interface), present.isStatic { return false }
        try request(
            Neighbour.manageRequest(address, on: interface),
            "have neighbour \(address) on \(name(of: interface)) resolved")
        return true
    }

    /// False: it was not there.
    @discardableResult
    public func removeNeighbour(_ address: IPAddress, on interface: Int32) throws(NetlinkError) -> Bool {
        try change(
            Neighbour.removeRequest(address, on: interface), unless: [ENOENT, ENODEV, ENXIO],
            "remove neighbour \(address) from \(name(of: interface))")
    }
}
