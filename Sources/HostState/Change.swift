public import Addresses
public import BPF
public import Netlink

/// One change to the machine, with what it takes to undo it.
public enum Change: Codable, Sendable, Hashable, CustomStringConvertible {
    /// `interface`: the one that the key names, where it names one.
    case sysctl(key: String, original: String, interface: Interface? = nil)
    case address(interface: Interface, address: IPAddress, peer: IPAddress? = nil, prefixLength: UInt8)
    /// An address that was there and that we took away.
    case addressRemoved(interface: Interface, address: IPAddress, prefixLength: UInt8, scope: UInt8)
    /// A device that we created.
    case link(name: Interface)
    /// A point-to-point tunnel that we created. One of another kind that has the name by now is not undone.
    case tunnel(name: Interface)
    /// A TUN device that outlives its descriptor.
    case tun(name: Interface)
    case linkUp(name: Interface, wasUp: Bool)
    case route(Route)
    case rule(Rule)
    case neighbour(address: IPAddress, interface: Interface)
    /// A feature of a device, by its name in `ethtool -k`, that was on and that we turned off.
    case offload(interface: Interface, feature: String)
    /// A clsact qdisc that we created.
    case qdisc(interface: Interface)
    case filter(
        interface: Interface, direction: BPFProgram.TrafficControlHook.Direction, priority: UInt32, handle: UInt32)
    /// A bpffs. Undone only while it is empty.
    case mount(path: String)
    /// A kernel module that we loaded. Undone only while nobody uses it.
    case module(name: String)
    /// A directory that we created. Undone only while it is empty.
    case directory(path: String)
    /// A file of the machine's configuration, or a link to one, that we wrote where none was.
    case file(path: String)
    /// A table of nftables, family ip, that we made.
    case netfilterTable(name: String)
    /// An address in a set of such a table.
    case netfilterElement(table: String, set: String, address: IPAddress)
    /// A pinned BPF program or map.
    case pin(path: String)
    /// A pinned XDP link, by which a program is attached.
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

    /// What it is about, the same for all changes of one thing: the first of them to be journalled knows what was there
    /// originally.
    /// An interface has its identity there.
    var subject: Change { interface.map { withoutOriginal.on($0.identity) } ?? withoutOriginal }

    /// Whether both are about the same thing.
    public func isAboutSame(as other: Change) -> Bool { ChangeList([self]).entry(for: other) != nil }

    /// The same with the interface's name alone.
    var subjectByName: Change { interface.map { withoutOriginal.on(Interface(named: $0.name)) } ?? withoutOriginal }

    private var withoutOriginal: Change {
        switch self {
        case .sysctl(let key, _, let interface): .sysctl(key: key, original: "", interface: interface)
        case .linkUp(let device, _): .linkUp(name: device, wasUp: false)
        default: self
        }
    }

    /// With paths that hold in every mount namespace.
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
