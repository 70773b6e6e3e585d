internal import Addresses
internal import BPF
internal import DataPlane
internal import LoadBalancing
internal import PacketPrograms

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
            usedSlices += [XDPDataPlane.slice(of: row.schedule), XDPDataPlane.slice(of: row.maglev)]
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
