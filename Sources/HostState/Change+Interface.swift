public import Addresses
public import Netlink

extension Change {
    /// The network device that a change is about. Devices are renamed, and names pass from one device to another: the
    /// index tells which device it was. As JSON it is the name alone, which is what earlier versions wrote and read;
    /// JournalText writes the rest beside the changes.
    public struct Interface: Sendable, Hashable, CustomStringConvertible, ExpressibleByStringLiteral {
        public let name: String
        /// Nil in journals of earlier versions, and of a device that is about to be made.
        public let index: Int32?
        /// The hardware's address, or else the one that is set; nil where the device has none. It tells whether the index
        /// has become another device's.
        public let address: MACAddress?
        /// The kernel's kind of a device without an address, such as ipip or tun, which tells the same; else nil.
        public let kind: String?

        init(name: String, index: Int32? = nil, address: MACAddress? = nil, kind: String? = nil) {
            self.name = name
            self.index = index
            self.address = address
            self.kind = kind
        }

        public init(_ link: Link) {
            let address = link.permanentAddress ?? link.address
            self.init(name: link.name, index: link.index, address: address, kind: address == nil ? link.kind : nil)
        }

        public init(named name: String) { self.init(name: name) }
        public init(stringLiteral name: String) { self.init(named: name) }

        public var description: String { name }

        /// The device as it is now: by its index, or else the one that has the name, as one has that was made anew.
        public func find(among links: [Link]) -> Link? {
            links.first(where: isStill) ?? links.first { $0.name == name }
        }

        /// The same for links by their index and by their name.
        func find(byIndex: [Int32: Link], byName: [String: Link]) -> Link? {
            index.flatMap { byIndex[$0] }.flatMap { isStill($0) ? $0 : nil } ?? byName[name]
        }

        func find(by socket: RouteSocket) throws(NetlinkError) -> Link? {
            if let index, let link = try socket.link(index: index), isStill(link) { return link }
            return try socket.link(named: name)
        }

        /// The kernel gives no index twice, but a device that comes from another network namespace may keep its own.
        private func isStill(_ link: Link) -> Bool {
            guard link.index == index else { return false }
            return link.name == name || isIdentified && identity == Interface(link).identity
        }

        /// Something besides its name tells the device apart.
        private var isIdentified: Bool { index != nil && (address != nil || kind != nil) }

        /// Whether both are one device. One of the two may be known by its name alone.
        public func isSame(as other: Interface) -> Bool {
            if index == nil || other.index == nil { return name == other.name }
            return identity == other.identity
        }

        /// The same for one device under all its names, where anything but the name tells it apart.
        var identity: Interface {
            isIdentified ? Interface(name: "", index: index, address: address, kind: kind) : self
        }
    }

    /// The interface that the change is about; nil where it is about something else.
    public var interface: Interface? { place?.interface }

    /// The same change of another interface, or of the same one under another name.
    func on(_ interface: Interface) -> Change { place?.moved(interface) ?? self }

    private typealias Place = (interface: Interface, moved: (Interface) -> Change)

    private var place: Place? {
        switch self {
        case .sysctl(let key, let original, let interface):
            guard let interface = interface ?? Sysctl.interface(of: key).map({ Interface(named: $0) }) else {
                return nil
            }
            return (
                interface,
                {
                    .sysctl(
                        key: Sysctl.key(key, of: $0.name), original: original, interface: $0.index == nil ? nil : $0)
                }
            )
        case .address(let interface, let address, let peer, let prefixLength):
            return (
                interface, { .address(interface: $0, address: address, peer: peer, prefixLength: prefixLength) }
            )
        case .addressRemoved(let interface, let address, let prefixLength, let scope):
            return (
                interface,
                { .addressRemoved(interface: $0, address: address, prefixLength: prefixLength, scope: scope) }
            )
        case .link(let device): return (device, { .link(name: $0) })
        case .tunnel(let device): return (device, { .tunnel(name: $0) })
        case .tun(let device): return (device, { .tun(name: $0) })
        case .linkUp(let device, let wasUp): return (device, { .linkUp(name: $0, wasUp: wasUp) })
        case .neighbour(let address, let interface):
            return (interface, { .neighbour(address: address, interface: $0) })
        case .offload(let interface, let feature): return (interface, { .offload(interface: $0, feature: feature) })
        case .qdisc(let interface): return (interface, { .qdisc(interface: $0) })
        case .filter(let interface, let direction, let priority, let handle):
            return (
                interface, { .filter(interface: $0, direction: direction, priority: priority, handle: handle) }
            )
        case .route, .rule, .mount, .module, .directory, .file, .netfilterTable, .netfilterElement, .pin,
            .attachment:
            return nil
        }
    }
}

extension Change.Interface: Codable {
    public init(from decoder: any Decoder) throws {
        self.init(named: try decoder.singleValueContainer().decode(String.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(name)
    }
}
