public import Addresses
public import BPF
public import Netlink

/// A change of the machine, with the values that its undoing needs.
public enum Change: Codable, Sendable, Hashable, CustomStringConvertible {
    /// A kernel parameter. `interface` is the interface in the key, if there is one.
    case sysctl(key: String, original: String, interface: Interface? = nil)
    /// An address that we added.
    case address(interface: Interface, address: IPAddress, peer: IPAddress? = nil, prefixLength: UInt8)
    /// An address that was there and that we removed.
    case addressRemoved(interface: Interface, address: IPAddress, prefixLength: UInt8, scope: UInt8)
    /// A device that we created.
    case link(name: Interface)
    /// A point-to-point tunnel that we created. A device of another kind with that name is not deleted.
    case tunnel(name: Interface)
    /// A TUN device that we created and that outlives its descriptor.
    case tun(name: Interface)
    /// A device's administrative state that we changed.
    case linkUp(name: Interface, wasUp: Bool)
    case route(Route)
    case rule(Rule)
    case neighbour(address: IPAddress, interface: Interface)
    /// A device's feature that we turned off, by its name in `ethtool -k`.
    case offload(interface: Interface, feature: String)
    /// A clsact qdisc that we created.
    case qdisc(interface: Interface)
    /// A tc program that we attached.
    case filter(
        interface: Interface, direction: BPFProgram.TrafficControlHook.Direction, priority: UInt32, handle: UInt32)
    /// A bpffs that we mounted. It is unmounted only if it is empty.
    case mount(path: String)
    /// A kernel module that we loaded. It is unloaded only if it is unused.
    case module(name: String)
    /// A directory that we created. It is removed only if it is empty.
    case directory(path: String)
    /// A file of the machine's configuration, or a symbolic link to such a file, that we created.
    case file(path: String)
    /// A table of nftables of family ip that we created.
    case netfilterTable(name: String)
    /// An address that we added to a set of a table of nftables of family ip.
    case netfilterElement(table: String, set: String, address: IPAddress)
    /// A pinned BPF program or map.
    case pin(path: String)
    /// A pinned XDP link, which attaches a program.
    case attachment(path: String)

    public var description: String {
        switch self {
        case .sysctl(let key, let original, _): "sysctl \(key), originally \(original)"
        case .address(let interface, let address, let peer, let prefixLength):
            "address \(address)\(peer.map { " peer \($0)" } ?? "")/\(prefixLength) on \(interface)"
        case .addressRemoved(let interface, let address, let prefixLength, _):
            "address \(address)/\(prefixLength), originally on \(interface)"
        case .link(let name): "device \(name)"
        case .tunnel(let name): "IPIP tunnel \(name)"
        case .tun(let name): "TUN device \(name)"
        case .linkUp(let name, let wasUp): "\(name), originally \(wasUp ? "up" : "down")"
        case .route(let route): "route \(route.destinationDescription) in table \(route.table)"
        case .rule(let rule): "rule \(rule)"
        case .neighbour(let address, let interface): "neighbour \(address) on \(interface)"
        case .offload(let interface, let feature): "\(feature) of \(interface), originally on"
        case .qdisc(let interface): "clsact qdisc on \(interface)"
        case .filter(let interface, let direction, _, _): "\(direction) program on \(interface)"
        case .mount(let path): "bpffs on \(path)"
        case .module(let name): "kernel module \(name)"
        case .directory(let path): "directory \(path)"
        case .file(let path): "file \(path)"
        case .netfilterTable(let name): "table ip \(name) of nftables"
        case .netfilterElement(let table, let set, let address):
            "\(address) in set \(set) of nftables' table ip \(table)"
        case .pin(let path): "pin \(path)"
        case .attachment(let path): "XDP attachment \(path)"
        }
    }

    /// The change without its original value, and with the interface's identity alone. It is the key of the changed
    /// thing. The first journalled change of a subject has the original value.
    var subject: Change { interface.map { withoutOriginal.on($0.identity) } ?? withoutOriginal }

    /// Whether both changes have the same subject.
    public func isAboutSame(as other: Change) -> Bool { ChangeList([self]).entry(for: other) != nil }

    /// The subject with the interface's name alone.
    var subjectByName: Change { interface.map { withoutOriginal.on(Interface(named: $0.name)) } ?? withoutOriginal }

    private var withoutOriginal: Change {
        switch self {
        case .sysctl(let key, _, let interface): .sysctl(key: key, original: "", interface: interface)
        case .linkUp(let device, _): .linkUp(name: device, wasUp: false)
        default: self
        }
    }

    /// The change with paths that are valid in all mount namespaces.
    package var canonical: Change {
        switch self {
        case .mount(let path): .mount(path: BPFFilesystem.canonical(path))
        case .directory(let path): .directory(path: BPFFilesystem.canonical(path))
        case .pin(let path): .pin(path: BPFFilesystem.canonical(path))
        case .attachment(let path): .attachment(path: BPFFilesystem.canonical(path))
        default: self
        }
    }
}
