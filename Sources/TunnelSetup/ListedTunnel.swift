internal import Addresses
internal import FoundationEssentials
public import Netlink

/// An IPIP tunnel of this machine, with its text and its JSON value.
public struct ListedTunnel: Sendable {
    public let tunnel: Tunnel
    public let link: Link
    /// The device that the tunnel is bound to, or nil if the tunnel is not bound.
    public let lower: Link?
    public let addresses: [InterfaceAddress]

    /// The tunnel as text in the manner of `ip -d address`.
    public var text: String {
        let end = { (address: IPv4Address?) in address.map { "\($0)" } ?? "any" }
        let outer = { (address: IPv4Address?) in address ?? IPv4Address(0) }
        var flags = tunnel.remote == nil ? [] : ["POINTOPOINT"]
        if link.noARP { flags.append("NOARP") }
        if link.isUp { flags.append("UP") }
        if link.hasCarrier { flags.append("LOWER_UP") }
        let lines =
            [
                "\(link.index): \(link.name)@\(lower?.name ?? "NONE"): <\(flags.joined(separator: ","))> mtu \(link.mtu)",
                "    link/ipip \(outer(tunnel.local)) \(tunnel.remote == nil ? "brd" : "peer") \(outer(tunnel.remote))",
                "    ipip remote \(end(tunnel.remote)) local \(end(tunnel.local)) "
                    + "ttl \(PointToPoint.describe(ttl: tunnel.ttl)) "
                    + (tunnel.discoversPathMTU ? "pmtudisc" : "nopmtudisc"),
            ] + addresses.map { "    inet \(PointToPoint.Address($0))" }
        return lines.joined(separator: "\n")
    }
}

extension [ListedTunnel] {
    public func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(map(EncodedTunnel.init)), as: UTF8.self)
    }
}

/// The JSON value of a tunnel. An end that may be any address is omitted, and so is an inherited TTL.
private struct EncodedTunnel: Encodable {
    struct Address: Encodable {
        var address: IPAddress
        var peer: IPAddress?
        var prefixLength: UInt8
    }

    var name: String
    var index: Int32
    var up: Bool
    var mtu: UInt32
    var local: IPv4Address?
    var remote: IPv4Address?
    var ttl: UInt8?
    var pmtudisc: Bool
    var lower: String?
    var addresses: [Address]

    init(_ listed: ListedTunnel) {
        name = listed.link.name
        index = listed.link.index
        up = listed.link.isUp
        mtu = listed.link.mtu
        local = listed.tunnel.local
        remote = listed.tunnel.remote
        ttl = listed.tunnel.ttl == 0 ? nil : listed.tunnel.ttl
        pmtudisc = listed.tunnel.discoversPathMTU
        lower = listed.lower?.name
        addresses = listed.addresses.map {
            Address(address: $0.address, peer: $0.peer, prefixLength: $0.prefixLength)
        }
    }
}
