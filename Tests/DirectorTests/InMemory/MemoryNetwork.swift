import Addresses
import Synchronization

@testable import Director
@testable import Netlink

/// A network in memory with one interface, on whose link all real servers are.
final class MemoryNetwork: Network {
    private struct State {
        var link = MemoryNetwork.link
        var addresses: [InterfaceAddress]
        /// The real servers that answer no ARP.
        var silent: Set<IPAddress> = []
        /// The machine's own addresses.
        var local: Set<IPAddress> = []
        /// The routes to addresses that are not on the link. Nil means that there is no route.
        var routes: [IPAddress: ResolvedRoute?] = [:]
        /// The addresses for which a look-up of the route fails.
        var failing: Set<IPAddress> = []
        /// The addresses that cannot be added to an interface.
        var refused: Set<IPAddress> = []
        /// The largest number of addresses for which gratuitous ARP is sent.
        var sendable = Int.max
        /// The number of look-ups of the route to each address.
        var lookups: [IPAddress: Int] = [:]
        var announced: [IPAddress] = []
        var followers: [AsyncStream<Void>.Continuation] = []
    }

    static let own = IPAddress(0x0A00_0002)
    static let router = IPAddress(0x0A00_00FE)

    struct Refusal: Error, CustomStringConvertible { let description: String }

    static let link = Link(
        index: 7, name: "lab0", kind: nil, mtu: 1500, isUp: true, hasCarrier: true, isLoopback: false,
        hardwareType: 1, address: MACAddress([2, 0, 0, 0, 0, 7]), master: nil, lower: nil, tag: nil,
        filtersVLANs: false, noARP: false, transmitErrors: 0, transmitDropped: 0)

    private let state = Mutex(
        State(addresses: [InterfaceAddress(interface: 7, address: own, prefixLength: 24)]))

    // MARK: For tests

    /// Returns the VIPs for which gratuitous ARP was sent since the last call.
    func takeAnnounced() -> [IPAddress] {
        state.withLock { state in
            defer { state.announced = [] }
            return state.announced
        }
    }

    func setCarrier(_ hasCarrier: Bool) {
        change { $0.link.hasCarrier = hasCarrier }
    }

    func rename(_ name: String) {
        change { $0.link.name = name }
    }

    func setMAC(_ address: MACAddress) {
        change { $0.link.address = address }
    }

    func silence(_ server: IPAddress) {
        change { $0.silent.insert(server) }
    }

    /// Sets the machine's own addresses.
    func makeLocal(_ addresses: Set<IPAddress>) {
        change { $0.local = addresses }
    }

    /// Sets the route to the address. Nil means that there is no route.
    func setRoute(_ route: ResolvedRoute?, to address: IPAddress) {
        change { $0.routes[address] = .some(route) }
    }

    /// Returns a route by the router, or over the link if `isRouted` is false.
    static func route(isRouted: Bool = true, source: IPAddress = own, mtu: UInt32? = nil) -> ResolvedRoute {
        ResolvedRoute(
            interface: 7, gateway: isRouted ? router : nil, source: source, mtu: mtu, isMTULearnt: false,
            isLocal: false)
    }

    /// Makes look-ups of routes to these addresses fail, and look-ups of all others succeed.
    func failLookups(of addresses: Set<IPAddress>) { change { $0.failing = addresses } }

    /// Makes additions of these addresses to interfaces fail, and additions of all others succeed.
    func refuseAddresses(_ addresses: Set<IPAddress>) { state.withLock { $0.refused = addresses } }

    func limitAnnouncements(to count: Int) { state.withLock { $0.sendable = count } }

    func lookups(of address: IPAddress) -> Int { state.withLock { $0.lookups[address] ?? 0 } }

    private func change(_ body: (inout State) -> Void) {
        let followers = state.withLock { state in
            body(&state)
            return state.followers
        }
        for follower in followers { follower.yield() }
    }

    // MARK: Network

    func requirePrivilege() {}

    func links() -> [Link] { [state.withLock(\.link)] }
    func link(index: Int32) -> Link? { links().first { $0.index == index } }
    func addresses() -> [InterfaceAddress] { state.withLock(\.addresses) }

    func addAddress(_ address: IPAddress, on interface: Int32, scope: UInt8) throws {
        try state.withLock {
            if $0.refused.contains(address) { throw Refusal(description: "refused") }
            $0.addresses.append(
                InterfaceAddress(interface: interface, address: address, prefixLength: 32, scope: scope))
        }
    }

    func removeAddress(_ address: IPAddress, from interface: Int32) {
        state.withLock { $0.addresses.removeAll { $0.address == address && $0.interface == interface } }
    }

    func route(to destination: IPAddress) throws -> ResolvedRoute? {
        try state.withLock { state in
            state.lookups[destination, default: 0] += 1
            if state.failing.contains(destination) { throw Refusal(description: "no buffer space") }
            if let route = state.routes[destination] { return route }
            return ResolvedRoute(
                interface: 7, gateway: nil, source: Self.own, mtu: nil, isMTULearnt: false,
                isLocal: state.local.contains(destination))
        }
    }

    func routeMTU(to destination: IPAddress) -> UInt32? { nil }

    func neighbour(_ address: IPAddress, on interface: Int32) -> Neighbour? {
        guard !state.withLock({ $0.silent.contains(address) }) else { return nil }
        return Neighbour(
            interface: interface, address: address,
            linkAddress: MACAddress([2, 0] + address.bytes), state: 0x02, isManaged: true)
    }

    func manageNeighbour(_ address: IPAddress, on interface: Int32) {}

    func checksumErrors() -> UInt64? { nil }
    func parameter(_ key: String) -> String? { nil }

    func announce(_ addresses: [IPv4Address], on link: Link) -> (sent: Int, error: String?) {
        state.withLock { state in
            let sent = addresses.prefix(state.sendable)
            state.announced += sent.map(IPAddress.v4)
            return (sent.count, sent.count < addresses.count ? "no buffer space" : nil)
        }
    }

    func requestNeighbour(_ address: IPAddress, from source: IPAddress, on link: Link) {}

    func changes(of kinds: Set<RouteMonitor.Kind>) -> AsyncStream<Void> {
        AsyncStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
            state.withLock { $0.followers.append(continuation) }
        }
    }

    func routerErrors() -> AsyncStream<FragmentationNeeded> { AsyncStream { _ in } }
}
