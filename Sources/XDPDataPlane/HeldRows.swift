internal import Addresses
internal import LoadBalancing

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
            services: services, serverIDs: serverIDs, routed: Set(pathIDs.keys), serviceRows: serviceRows.heldCount(),
            serverRows: serverRows.heldCount(), pathRows: pathRows.heldCount(), slices: slices)
    }
}
