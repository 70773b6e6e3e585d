public import LoadBalancing

/// One difference between the machine as it is and one with the tunnel, in the order in which they are made.
public enum TunnelStep: Sendable, Hashable, CustomStringConvertible {
    case loadModule
    case create(name: String, local: IPv4Address, remote: IPv4Address, ttl: UInt8, mtu: UInt32?)
    case addAddress(PointToPoint.Address, name: String)
    case setUp(name: String)

    static let module = "ipip"

    /// One line for people.
    public var description: String {
        switch self {
        case .loadModule: "load kernel module \(Self.module)"
        case .create(let name, let local, let remote, let ttl, let mtu):
            "create ipip device \(name) local \(local) remote \(remote) ttl \(PointToPoint.describe(ttl: ttl))"
                + (mtu.map { " mtu \($0)" } ?? "")
        case .addAddress(let address, let name): "add address \(address) to \(name)"
        case .setUp(let name): "set \(name) up"
        }
    }
}
