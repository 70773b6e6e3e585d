public import Addresses
public import Netlink

extension Change {
    /// The network device of a change. Devices are renamed, and names pass from one device to another, so the index
    /// identifies the device. The JSON value is the name alone, as in earlier versions. JournalText writes the rest
    /// beside the changes.
    public struct Interface: Sendable, Hashable, CustomStringConvertible, ExpressibleByStringLiteral {
        public let name: String
        /// The interface's index. Nil in journals of earlier versions, and for a device that is about to be created.
        public let index: Int32?
        /// The device's permanent MAC address, or else its current one. Nil: the device has none. A device with the
        /// same index and another address is another device.
        public let address: MACAddress?
        /// The kernel's kind of a device without an address, such as ipip or tun, for the same comparison. Nil for a
        /// device with an address.
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

        /// Returns this device by its index, or else the device of the same name, which may have been created anew.
        public func find(among links: [Link]) -> Link? {
            links.first(where: isStill) ?? links.first { $0.name == name }
        }

        /// Does the same with dictionaries of the links.
        func find(byIndex: [Int32: Link], byName: [String: Link]) -> Link? {
            index.flatMap { byIndex[$0] }.flatMap { isStill($0) ? $0 : nil } ?? byName[name]
        }

        func find(by socket: RouteSocket) throws(NetlinkError) -> Link? {
            if let index, let link = try socket.link(index: index), isStill(link) { return link }
            return try socket.link(named: name)
        }

        /// Whether the link is this device. The kernel assigns no index twice, but a device from another network
        /// namespace may keep its index.
        private func isStill(_ link: Link) -> Bool {
            guard link.index == index else { return false }
            return link.name == name || isIdentified && identity == Interface(link).identity
        }

        /// Whether something besides the name identifies the device.
        private var isIdentified: Bool { index != nil && (address != nil || kind != nil) }

        /// Whether both are one device. If one of them has only a name, the names decide.
        public func isSame(as other: Interface) -> Bool {
            if index == nil || other.index == nil { return name == other.name }
            return identity == other.identity
        }

        /// A value that is equal for one device under all its names, if something besides the name identifies it.
        var identity: Interface {
            isIdentified ? Interface(name: "", index: index, address: address, kind: kind) : self
        }
    }

    /// The change's interface. Nil: the change has none.
    public var interface: Interface? { place?.interface }

    /// Returns the same change of another interface, or of the same interface under another name.
    func on(_ interface: Interface) -> Change { place?.moved(interface) ?? self }

    /// The interface of a change, and a closure that returns the same change of another interface.
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
