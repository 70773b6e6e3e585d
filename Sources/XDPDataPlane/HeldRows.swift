internal import Addresses
internal import BPF
internal import DataPlane
internal import Glibc
internal import LoadBalancing
internal import PacketPrograms

/// The rows that are not free. Among them are rows at rest, and rows of removed real servers and services that still
/// have connections.
struct HeldRows {
    /// The row of each listener's service.
    var services: [ServiceAddress: Int]
    var serverIDs: ServerIDs
    /// The real servers that have a path.
    var routed: Set<IPv4Address>
    /// The number of rows that are held.
    var serviceRows: Int
    var serverRows: Int
    var pathRows: Int
    var slices: SliceAllocator

    /// Returns the rows that these services need, beside the rows that are held.
    func demand(of desired: [VirtualService]) -> TableDemand {
        var services = RowDemand(name: "services", held: serviceRows)
        var servers = RowDemand(name: "real servers", held: serverRows)
        var paths = RowDemand(name: "paths", held: pathRows)
        var claimed: Set<Int> = []
        var listeners = Set(self.services.keys)
        var addresses = serverIDs.addresses
        for service in desired {
            let row = self.services.row(of: service, besides: claimed)
            if let row {
                claimed.insert(row)
                services.kept += 1
            } else {
                services.wanted += 1
            }
            let present = row.map { serverIDs.ofService($0) } ?? [:]
            for address in Set(service.servers.compactMap(\.address.v4)) {
                if present[address] == nil { servers.wanted += 1 } else { servers.kept += 1 }
                addresses.insert(address)
            }
            listeners.formUnion(service.listeners)
        }
        paths.wanted = addresses.subtracting(routed).count
        return TableDemand(
            services: services, servers: servers, paths: paths, listenerKeys: listeners.keyCount, slices: slices,
            newSlices: desired.flatMap(\.sliceSizes))
    }
}

/// The held and the needed rows of all tables.
struct TableDemand {
    var services: RowDemand
    var servers: RowDemand
    var paths: RowDemand
    /// The number of keys of present and desired listeners. Both exist together for a moment.
    var listenerKeys: Int
    var slices: SliceAllocator
    /// The sizes of all schedulers' tables, as if all were new. Old tables are released after the new ones are in use.
    var newSlices: [Int]
}

extension [ServiceAddress: Int] {
    /// Returns the row of one of the service's listeners, unless another service has claimed it.
    func row(of service: VirtualService, besides claimed: Set<Int>) -> Int? {
        service.listeners.lazy.compactMap { self[$0] }.first { !claimed.contains($0) }
    }
}

extension Set<ServiceAddress> {
    /// The number of keys by which packets find these listeners and their VIPs.
    fileprivate var keyCount: Int { reduce(0) { $0 + $1.listenerCount } + Set<IPAddress>(map(\.vip)).count }
}

extension HeldRows {
    /// Makes the held rows of an adopted data plane.
    init(_ rows: AdoptedRows, slotGroups: Int) {
        self.init(
            services: rows.services, serverIDs: rows.serverIDs, routed: Set(rows.pathIDs.keys),
            serviceRows: rows.usedServices.count, serverRows: rows.usedServers.count, pathRows: rows.usedPaths.count,
            slices: SliceAllocator(groups: slotGroups, used: rows.usedSlices))
    }
}

extension XDPDataPlane {
    var heldRows: HeldRows {
        HeldRows(
            services: services, serverIDs: serverIDs, routed: Set(pathTable.rows.keys),
            serviceRows: serviceRows.heldCount(), serverRows: serverRows.heldCount(), pathRows: pathTable.heldCount,
            slices: schedulerTables.slices)
    }
}

/// The held and the needed rows of one table.
struct RowDemand: Hashable {
    /// The plural of what a row stands for.
    let name: String
    /// The number of rows in use or at rest, those of removed items with connections included.
    var held: Int
    /// The number of held rows of desired items.
    var kept = 0
    /// The number of desired items that have no row yet.
    var wanted = 0

    /// The necessary number of rows of the table. Row 0 stands for "not set".
    var size: Int { held + wanted + 1 }

    /// Returns the error if the table cannot hold the wanted rows. `most` is the number of rows that can be given out.
    func refusal(most: Int) -> BPFError? {
        guard held + wanted > most else { return nil }
        let left = held - kept
        return BPFError(
            "find room for \(wanted) more \(name): their table holds \(held) rows, \(left) of them of \(name) that are "
                + "removed, and \(most) are the most; a removed one's row is free half a minute after its last connection "
                + "has ended: name fewer new \(name) at once, or try again then", code: ENOSPC)
    }
}

/// The use of the rows, as read back from the maps. It is empty for new maps.
struct AdoptedRows {
    /// The row of each listener's service.
    private(set) var services: [ServiceAddress: Int] = [:]
    /// The first listener of each service, by the service's row.
    private(set) var primaryAddresses: [Int: ServiceAddress] = [:]
    private(set) var serverIDs = ServerIDs()
    private(set) var paths: [IPv4Address: Path] = [:]
    /// The row in `next_hops` of each real server's address.
    private(set) var pathIDs: [IPv4Address: Int] = [:]
    private(set) var usedServers: Set<Int> = []
    private(set) var usedPaths: Set<Int> = []
    private(set) var usedSlices: [SliceAllocator.Slice] = []

    /// The rows of services, including services that have only removed real servers left.
    var usedServices: Set<Int> { Set(services.values).union(serverIDs.services) }

    init(of maps: DirectorMaps) throws(BPFError) {
        for service in try DataPlaneSnapshot(of: maps, now: 0).services {
            for listener in service.listeners { services[listener] = Int(service.index) }
            primaryAddresses[Int(service.index)] = service.address
            let row = maps.services[Int(service.index)]
            usedSlices += [.init(word: row.schedule), .init(word: row.maglev)]
        }
        for id in maps.usedServers {
            let row = maps.servers[id]
            let address = IPv4Address(bigEndian: row.address)
            usedServers.insert(id)
            serverIDs[Int(row.service), address] = id
            if row.next_hop != 0 {
                usedPaths.insert(Int(row.next_hop))
                pathIDs[address] = Int(row.next_hop)
                paths[address] = Path(row: maps.nextHops[Int(row.next_hop)])
            }
        }
    }
}

extension DirectorMaps {
    /// The rows that have a real server. Removed real servers keep their rows while their connections go on.
    var usedServers: [Int] { (1..<servers.count).filter { servers[$0].flags & UInt16(IPVSD_SERVER_USED) != 0 } }
}

/// The rows of real servers, by service and by address. Both look-ups have to be fast, as there may be thousands of
/// rows.
struct ServerIDs {
    private var byService: [Int: [IPv4Address: Int]] = [:]
    private var byAddress: [IPv4Address: Set<Int>] = [:]

    subscript(service: Int, address: IPv4Address) -> Int? {
        get { byService[service]?[address] }
        set {
            if let old = byService[service]?[address] {
                byAddress[address]?.remove(old)
                if byAddress[address]?.isEmpty == true { byAddress[address] = nil }
            }
            byService[service, default: [:]][address] = newValue
            if byService[service]?.isEmpty == true { byService[service] = nil }
            if let newValue { byAddress[address, default: []].insert(newValue) }
        }
    }

    func ofService(_ service: Int) -> [IPv4Address: Int] { byService[service] ?? [:] }

    func ofAddress(_ address: IPv4Address) -> Set<Int> { byAddress[address] ?? [] }

    var services: Set<Int> { Set(byService.keys) }
    var addresses: Set<IPv4Address> { Set(byAddress.keys) }

    var all: [(service: Int, address: IPv4Address, id: Int)] {
        byService.flatMap { service, ids in ids.map { (service, $0, $1) } }
    }
}
