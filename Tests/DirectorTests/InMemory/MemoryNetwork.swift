import LoadBalancing
import Synchronization

@testable import Director
@testable import Netlink

/// A network of one interface, on whose link all real servers are.
final class MemoryNetwork: Network {
    private struct State {
        var link = MemoryNetwork.link
        var addresses: [InterfaceAddress]
        /// Real servers that answer no ARP.
        var silent: Set<IPv4Address> = []
        /// Addresses whose packets the machine takes itself.
        var local: Set<IPv4Address> = []
        /// How often the route to each address was looked up.
        var lookups: [IPv4Address: Int] = [:]
        var announced: [IPv4Address] = []
        var followers: [AsyncStream<Void>.Continuation] = []
    }

    static let own = IPv4Address(0x0A00_0002)

    static let link = Link(
        index: 7, name: "lab0", kind: nil, mtu: 1500, isUp: true, hasCarrier: true, isLoopback: false,
        hardwareType: 1, address: MACAddress([2, 0, 0, 0, 0, 7]), master: nil, lower: nil, tag: nil,
        filtersVLANs: false, noARP: false, transmitErrors: 0, transmitDropped: 0)

    private let state = Mutex(
        State(addresses: [InterfaceAddress(interface: 7, address: own, prefixLength: 24)]))

    // MARK: For tests

    /// VIPs that gratuitous ARP was sent for since the last call.
    func takeAnnounced() -> [IPv4Address] {
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

    func silence(_ server: IPv4Address) {
        change { $0.silent.insert(server) }
    }

    /// Has the machine take packets to these addresses itself.
    func makeLocal(_ addresses: Set<IPv4Address>) {
        change { $0.local = addresses }
    }

    func lookups(of address: IPv4Address) -> Int { state.withLock { $0.lookups[address] ?? 0 } }

    private func change(_ body: (inout State) -> Void) {
        let followers = state.withLock { state in
            body(&state)
            return state.followers
        }
        for follower in followers { follower.yield() }
    }

    // MARK: As the director asks

    func requirePrivilege() {}

    func links() -> [Link] { [state.withLock(\.link)] }
    func link(index: Int32) -> Link? { links().first { $0.index == index } }
    func addresses() -> [InterfaceAddress] { state.withLock(\.addresses) }

    func addAddress(_ address: IPv4Address, on interface: Int32, scope: UInt8) {
        state.withLock {
            $0.addresses.append(
                InterfaceAddress(interface: interface, address: address, prefixLength: 32, scope: scope))
        }
    }

    func removeAddress(_ address: IPv4Address, from interface: Int32) {
        state.withLock { $0.addresses.removeAll { $0.address == address && $0.interface == interface } }
    }

    func route(to destination: IPv4Address) -> ResolvedRoute? {
        let isLocal = state.withLock { state in
            state.lookups[destination, default: 0] += 1
            return state.local.contains(destination)
        }
        return ResolvedRoute(
            interface: 7, gateway: nil, source: Self.own, mtu: nil, isMTULearnt: false, isLocal: isLocal)
    }

    func routeMTU(to destination: IPv4Address) -> UInt32? { nil }

    func neighbour(_ address: NextHopAddress, on interface: Int32) -> Neighbour? {
        guard case .v4(let server) = address, !state.withLock({ $0.silent.contains(server) }) else { return nil }
        return Neighbour(
            interface: interface, address: address,
            linkAddress: MACAddress([2, 0] + server.value.bigEndianBytes), state: 0x02, isManaged: true)
    }

    func manageNeighbour(_ address: NextHopAddress, on interface: Int32) {}

    func checksumErrors() -> UInt64? { nil }
    func parameter(_ key: String) -> String? { nil }

    func announce(_ addresses: [IPv4Address], on link: Link) -> (sent: Int, error: String?) {
        state.withLock { $0.announced += addresses }
        return (addresses.count, nil)
    }

    func requestNeighbour(_ address: IPv4Address, from source: IPv4Address, on link: Link) {}

    func changes(of kinds: Set<RouteMonitor.Kind>) -> AsyncStream<Void> {
        AsyncStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
            state.withLock { $0.followers.append(continuation) }
        }
    }

    func routerErrors() -> AsyncStream<FragmentationNeeded> { AsyncStream { _ in } }
}

extension UInt32 {
    fileprivate var bigEndianBytes: [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: self >> (24 - 8 * $0)) } }
}
