internal import Addresses
internal import CLinux
@preconcurrency internal import Dispatch
internal import Glibc
internal import HostState
internal import Netlink
internal import Synchronization
internal import SystemCalls

/// The machine's network, as the director uses it.
protocol Network: Sendable {
    /// Throws if this process lacks the privilege to change the network.
    func requirePrivilege() throws

    func links() throws -> [Link]
    func link(index: Int32) throws -> Link?
    func addresses() throws -> [InterfaceAddress]
    func addAddress(_ address: IPAddress, on interface: Int32, scope: UInt8) throws
    func removeAddress(_ address: IPAddress, from interface: Int32) throws

    func route(to destination: IPAddress) throws -> ResolvedRoute?
    /// Returns the MTU of the route itself, without path MTUs that the kernel has learnt.
    func routeMTU(to destination: IPAddress) throws -> UInt32?
    func neighbour(_ address: IPAddress, on interface: Int32) throws -> Neighbour?
    /// Has the kernel keep the neighbour resolved (NTF_EXT_MANAGED).
    func manageNeighbour(_ address: IPAddress, on interface: Int32) throws

    /// Returns the kernel's count of TCP segments and ICMP messages with a wrong checksum, or nil where it has none.
    func checksumErrors() -> UInt64?

    /// Returns a kernel parameter below net/ipv4, or nil where it cannot be read.
    func parameter(_ key: String) -> String?

    /// Sends gratuitous ARP for the addresses, in their order. Returns the number of addresses sent, and the error of
    /// the next address, or nil.
    func announce(_ addresses: [IPv4Address], on link: Link) -> (sent: Int, error: String?)
    /// Broadcasts an ARP request for a neighbour.
    func requestNeighbour(_ address: IPAddress, from source: IPAddress, on link: Link)

    /// Returns a stream. Each element stands for one or more changes of these kinds.
    func changes(of kinds: Set<RouteMonitor.Kind>) throws -> AsyncStream<Void>
    /// Returns the stream of routers' messages about packets that were too big.
    func routerErrors() throws -> AsyncStream<FragmentationNeeded>
}

extension Network {
    func tree() throws -> LinkList { LinkList(try links()) }
}

/// The links at a moment.
struct LinkList {
    let all: [Link]

    init(_ links: [Link]) { all = links }

    func link(index: Int32) -> Link? { all.first { $0.index == index } }
}

/// The network namespace of this process.
final class KernelNetwork: Network {
    /// The socket of all requests, opened by the first one.
    private let socket = Mutex<RouteSocket?>(nil)

    private func withSocket<Answer: Sendable>(_ body: (RouteSocket) throws -> Answer) throws -> Answer {
        try socket.withLock { socket in
            let open = try socket ?? RouteSocket()
            socket = open
            return try body(open)
        }
    }

    func requirePrivilege() throws {
        for capability in [Capability.netAdmin, .bpf] where !capability.isHeld {
            throw DirectorError(
                .noPrivilege, "run as a director: \(capability.rawValue) is missing; start it as root")
        }
    }

    func links() throws -> [Link] { try withSocket { try $0.links() } }
    func link(index: Int32) throws -> Link? { try withSocket { try $0.link(index: index) } }
    func addresses() throws -> [InterfaceAddress] { try withSocket { try $0.addresses() } }

    func addAddress(_ address: IPAddress, on interface: Int32, scope: UInt8) throws {
        try withSocket { _ = try $0.addAddress(address, prefixLength: 32, to: interface, scope: scope) }
    }

    func removeAddress(_ address: IPAddress, from interface: Int32) throws {
        try withSocket { _ = try $0.removeAddress(address, prefixLength: 32, from: interface) }
    }

    func route(to destination: IPAddress) throws -> ResolvedRoute? { try withSocket { try $0.route(to: destination) } }
    func routeMTU(to destination: IPAddress) throws -> UInt32? { try withSocket { try $0.routeMTU(to: destination) } }

    func neighbour(_ address: IPAddress, on interface: Int32) throws -> Neighbour? {
        try withSocket { try $0.neighbour(address, on: interface) }
    }

    func manageNeighbour(_ address: IPAddress, on interface: Int32) throws {
        try withSocket { _ = try $0.manageNeighbour(address, on: interface) }
    }

    func checksumErrors() -> UInt64? {
        guard let text = try? File.read("/proc/self/net/snmp") else { return nil }
        return ProtocolCounters(text).sum(of: "InCsumErrors", in: ["Tcp", "Icmp"])
    }

    func parameter(_ key: String) -> String? { try? Sysctl.read("net/ipv4/\(key)") }

    func announce(_ addresses: [IPv4Address], on link: Link) -> (sent: Int, error: String?) {
        guard let mac = link.address else { return (addresses.count, nil) }
        let sent = Int(clinux_announce(link.index, mac.bytes, addresses.map(\.bigEndian), Int32(addresses.count)))
        return (sent, sent < addresses.count ? String(cString: strerror(errno)) : nil)
    }

    func requestNeighbour(_ address: IPAddress, from source: IPAddress, on link: Link) {
        guard let mac = link.address, let address = address.v4, let source = source.v4 else { return }
        _ = clinux_request_arp(link.index, mac.bytes, source.bigEndian, address.bigEndian)
    }

    func changes(of kinds: Set<RouteMonitor.Kind>) throws -> AsyncStream<Void> {
        try NetworkChanges.events(of: kinds)
    }

    func routerErrors() throws -> AsyncStream<FragmentationNeeded> { try RouterErrors.events() }
}

/// The stream of the network's changes. A burst becomes one element. The stream does not block a thread.
enum NetworkChanges {
    static func events(
        of kinds: Set<RouteMonitor.Kind> = Set(RouteMonitor.Kind.allCases)
    ) throws(NetlinkError) -> AsyncStream<Void> {
        // Only the queue uses the monitor from here on.
        nonisolated(unsafe) let monitor = try RouteMonitor()
        let queue = DispatchQueue(label: "network changes")
        return AsyncStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
            let source = DispatchSource.makeReadSource(fileDescriptor: monitor.descriptor, queue: queue)
            source.setEventHandler {
                // This reads all messages, as the source fires again while some are left.
                let changed = try? monitor.drain()
                if changed == nil { source.cancel() }
                if changed?.isDisjoint(with: kinds) != true { continuation.yield() }
            }
            source.setCancelHandler { continuation.finish() }
            continuation.onTermination = { _ in source.cancel() }
            source.resume()
        }
    }
}

/// The counters of /proc/net/snmp: two lines for each protocol, one with the names and one with the values (proc(5)).
struct ProtocolCounters {
    private var counters: [Substring: [Substring: UInt64]] = [:]

    init(_ text: [UInt8]) {
        let text = String(decoding: text, as: UTF8.self)
        var names: [Substring: [Substring]] = [:]
        for line in text.split(separator: "\n") {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let words = line[line.index(after: colon)...].split(separator: " ")
            if let names = names[line[..<colon]] {
                let values = zip(names, words).compactMap { name, value in UInt64(value).map { (name, $0) } }
                counters[line[..<colon]] = Dictionary(values, uniquingKeysWith: { first, _ in first })
            } else {
                names[line[..<colon]] = words
            }
        }
    }

    /// Returns the sum of a counter, or nil where one of the protocols has no such counter.
    func sum(of name: Substring, in protocols: [Substring]) -> UInt64? {
        var sum: UInt64 = 0
        for counted in protocols {
            guard let count = counters[counted]?[name] else { return nil }
            sum += count
        }
        return sum
    }
}
