internal import Addresses
internal import BPF
internal import DataPlane
internal import Glibc
internal import LoadBalancing
internal import PacketPrograms

/// What the tables hold. Rows of removed real servers and services that connections still have, and rows at rest, are
/// among it: they are nobody else's either.
struct HeldRows {
    /// The row of each listener's service.
    var services: [ServiceAddress: Int]
    var serverIDs: ServerIDs
    /// The real servers to which there is a path.
    var routed: Set<IPv4Address>
    /// The number of rows that are held.
    var serviceRows: Int
    var serverRows: Int
    var pathRows: Int
    var slices: SliceAllocator

    /// What these services take besides.
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

/// What of all tables is held and wanted.
struct TableDemand {
    var services: RowDemand
    var servers: RowDemand
    var paths: RowDemand
    /// Of the listeners that there are and those that are wanted: for a moment both are there.
    var listenerKeys: Int
    var slices: SliceAllocator
    /// Of the schedulers' tables, as if all were made anew: the old ones go when the new ones are in use.
    var newSlices: [Int]
}

extension [ServiceAddress: Int] {
    /// That of one of the service's listeners, unless another service has it.
    func row(of service: VirtualService, besides claimed: Set<Int>) -> Int? {
        service.listeners.lazy.compactMap { self[$0] }.first { !claimed.contains($0) }
    }
}

extension Set<ServiceAddress> {
    /// The number of the keys by which packets find them, with those of their VIPs.
    fileprivate var keyCount: Int { reduce(0) { $0 + $1.listenerCount } + Set<IPAddress>(map(\.vip)).count }
}

extension HeldRows {
    /// Those of a data plane that is taken over.
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

/// Rows of one table: those that nobody else gets now, and those that are wanted besides.
struct RowDemand: Hashable {
    /// What its rows are for, in the plural.
    let name: String
    /// In use, also by what was removed and still has connections, or at rest.
    var held: Int
    /// Of those held, the rows of what is wanted.
    var kept = 0
    var wanted = 0

    /// With row 0, which stands for "not set".
    var size: Int { held + wanted + 1 }

    /// Why the table cannot hold them; nil where it can. `most`: so many rows can be given out.
    func refusal(most: Int) -> BPFError? {
        guard held + wanted > most else { return nil }
        let left = held - kept
        return BPFError(
            "find room for \(wanted) more \(name): their table holds \(held) rows, \(left) of them of \(name) that are "
                + "removed, and \(most) are the most; a removed one's row is free half a minute after its last connection "
                + "has ended: name fewer new \(name) at once, or try again then", code: ENOSPC)
    }
}

/// What the rows of the maps are used for, as the maps say it; nothing, where they are new.
struct AdoptedRows {
    /// The row of each listener's service.
    private(set) var services: [ServiceAddress: Int] = [:]
    /// By row: the address that a service is called by.
    private(set) var primaryAddresses: [Int: ServiceAddress] = [:]
    private(set) var serverIDs = ServerIDs()
    private(set) var paths: [IPv4Address: Path] = [:]
    /// The path row of each real server's address.
    private(set) var pathIDs: [IPv4Address: Int] = [:]
    private(set) var usedServers: Set<Int> = []
    private(set) var usedPaths: Set<Int> = []
    private(set) var usedSlices: [SliceAllocator.Slice] = []

    /// Also those of which only removed real servers are left.
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
    /// The rows of real servers, also of removed ones whose connections go on.
    var usedServers: [Int] { (1..<servers.count).filter { servers[$0].flags & UInt16(IPVSD_SERVER_USED) != 0 } }
}

/// The rows of the real servers, found by service and by address: either may have thousands.
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
