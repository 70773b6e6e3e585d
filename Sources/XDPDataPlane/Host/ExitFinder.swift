internal import Addresses
internal import Netlink

/// Finds the device by which frames leave, below the interface that a route names.
final class ExitFinder {
    struct Exit {
        var device: Link
        var tags: [VLANTag]
    }

    struct NoExit: Error { var reason: String }

    private let socket: RouteSocket
    /// XDP_TX works there: the ingress devices, unless one is a veth.
    var transmitting: Set<Int32>
    /// Packets are redirected by drivers, not by the stack.
    var isNative = false
    /// Kinds of devices whose drivers take frames from an XDP redirect (ndo_xdp_xmit); hardware is not asked.
    private static let redirectable = [nil, "veth", "bond", "tun"]
    /// The port that a bridge last had an address behind: it forgets, and the cable is where it was.
    private var ports: [BridgedAddress: Int32] = [:]

    private struct BridgedAddress: Hashable {
        var bridge: Int32
        var address: MACAddress
    }

    init(transmitting: Set<Int32>) throws {
        socket = try RouteSocket()
        self.transmitting = transmitting
    }

    /// The device that takes frames for a route's interface, and the tags that they need there: below a VLAN device
    /// the one it sits on, of a bridge the port behind which the next hop is.
    func exit(by interface: Link, toward nextHop: MACAddress?) throws -> Result<Exit, NoExit> {
        var exit = Exit(device: interface, tags: [])
        while true {
            switch exit.device.kind {
            case "vlan":
                guard let tag = exit.device.tag, let below = try exit.device.lower.flatMap(socket.link(index:)) else {
                    return .failure(NoExit(reason: "and the device below it is in another network namespace"))
                }
                guard exit.tags.count < Path.maximumTags else {
                    return .failure(NoExit(reason: "with more than \(Path.maximumTags) tags"))
                }
                exit = Exit(device: below, tags: [tag] + exit.tags)
            // In generic mode the bridge itself takes frames, and floods where it does not know.
            case "bridge" where isNative:
                if exit.device.filtersVLANs {
                    return .failure(NoExit(reason: "and bridge \(exit.device.name) filters VLANs by itself"))
                }
                // Not known yet: it is not asked for a port either.
                guard let nextHop else { return .success(exit) }
                guard let port = try port(of: nextHop, bridge: exit.device.index) else {
                    return .failure(NoExit(reason: "and bridge \(exit.device.name) has not heard of \(nextHop)"))
                }
                exit.device = port
            case let kind where isNative && !Self.redirectable.contains(kind):
                return .failure(
                    NoExit(
                        reason: "and \(exit.device.name), a \(kind ?? "device"), takes no packets from native XDP; "
                            + "the XDP mode generic would do"))
            default: return .success(exit)
            }
        }
    }

    private func port(of address: MACAddress, bridge: Int32) throws -> Link? {
        let key = BridgedAddress(bridge: bridge, address: address)
        if let port = try socket.port(of: address, bridge: bridge) { ports[key] = port }
        guard let port = try ports[key].flatMap(socket.link(index:)), port.master == bridge else { return nil }
        return port
    }
}
