internal import Addresses
public import BPF
public import DataPlane
internal import LoadBalancing
internal import PacketPrograms

/// The snapshot, read back from the maps.
extension DataPlaneSnapshot {
    /// Reads the maps. `now` is the 32-bit tick.
    public init(of maps: DirectorMaps, now: UInt32) throws(BPFError) {
        var services: [UInt32: Service] = [:]
        for key in try maps.listeners.keys() {
            guard key.protocol != 0, let value = try maps.listeners.value(for: key) else { continue }
            let flags = UInt32(value.flags)
            let address = ServiceAddress(key: key)
            guard var service = services[UInt32(value.service)] ?? Service(of: maps, listener: address, value) else {
                continue
            }
            // An any-port service has a key for each protocol.
            if !service.listeners.contains(address) { service.configured.otherAddresses.append(address) }
            if flags & IPVSD_SERVICE_ONE_PACKET != 0 { service.configured.isOnePacket = true }
            if flags & IPVSD_SERVICE_FINISHES != 0 { service.configured.onServerRemoval = .finish }
            services[UInt32(value.service)] = service
        }
        for index in services.keys { services[index]?.configured.sortListeners() }
        for id in maps.usedServers {
            let row = maps.servers[id]
            guard services[UInt32(row.service)] != nil else { continue }
            services[UInt32(row.service)]?.append(try Server(id: UInt32(id), row: row, maps: maps))
        }
        self.init(
            services: services.values.sorted {
                ($0.address.vip, $0.address.port ?? 0, $0.index) < ($1.address.vip, $1.address.port ?? 0, $1.index)
            }, flood: Flood(of: maps, now: now), templates: Templates(of: maps, now: now),
            flowTableSize: maps.flows.count * Int(IPVSD_WAYS), counterKinds: PacketCounter.all,
            counters: try maps.counterTotals())
    }
}

extension DataPlaneSnapshot.Service {
    /// Reads a service without its real servers; nil where the row's scheduler is unknown.
    fileprivate init?(of maps: DirectorMaps, listener: ServiceAddress, _ value: ipvsd_listener_value) {
        let row = maps.services[Int(value.service)]
        guard let scheduler = Scheduler(packedName: row.name) else { return nil }
        let maglevSize = SliceAllocator.Slice(word: row.maglev).size
        self.init(
            index: UInt32(value.service),
            configured: VirtualService(
                address: listener, scheduler: scheduler, flags: SchedulerFlag.flags(of: scheduler, word: row.schedule),
                onServerLoss: ServerLoss(flags: UInt32(value.flags)), persistence: maps.persistence(ofService: value),
                maglevSize: maglevSize == 0 ? nil : maglevSize, servers: []),
            servers: [])
    }

    fileprivate mutating func append(_ server: DataPlaneSnapshot.Server) {
        servers.append(server)
        if !server.isRemoved { configured.servers.append(server.configured) }
    }
}

extension VirtualService {
    fileprivate mutating func sortListeners() {
        let sorted = listeners.sorted {
            ($0.vip, $0.port ?? 0, $0.transport?.number ?? 0) < ($1.vip, $1.port ?? 0, $1.transport?.number ?? 0)
        }
        (address, otherAddresses) = (sorted[0], Array(sorted.dropFirst()))
    }
}

extension DataPlaneSnapshot.Server {
    fileprivate init(id: UInt32, row: ipvsd_server, maps: DirectorMaps) throws(BPFError) {
        let load = maps.connectionCounts[Int(id)]
        let path = maps.nextHops[Int(row.next_hop)]
        let total = try maps.statistics(of: id)
        self.init(
            id: id,
            configured: RealServer(
                address: .v4(IPv4Address(bigEndian: row.address)), weight: row.configured_weight,
                thresholds: row.thresholds),
            effective: row.effective, isRemoved: row.isRemoved,
            movesPersistent: UInt32(row.flags) & IPVSD_SERVER_MOVES != 0,
            movesDatagrams: UInt32(row.flags) & IPVSD_SERVER_MOVES_DATAGRAMS != 0, tenths: row.tenths,
            isOverloaded: row.isOverloaded(by: load),
            active: load.active, inactive: load.inactive,
            connections: total.connections, packets: total.packets, bytes: total.bytes,
            source: path.ifindex == 0 ? nil : .v4(IPv4Address(bigEndian: path.source)),
            hasNextHop: path.flags & (IPVSD_NEXT_HOP_RESOLVED | IPVSD_NEXT_HOP_LOCAL) != 0,
            isLocal: path.flags & IPVSD_NEXT_HOP_LOCAL != 0)
    }
}

extension DataPlaneSnapshot.Flood {
    fileprivate init(of maps: DirectorMaps, now: UInt32) {
        let pressure = maps.tableLoad[0]
        self.init(
            // The decrement of a count may come a moment before its increment.
            halfOpen: UInt32(max(Int32(bitPattern: pressure.half_open), 0)),
            limit: maps.settings.field(\.half_open_limit).pointee,
            last: secondsAgo(pressure.last, now: now), since: secondsAgo(pressure.since, now: now))
    }
}

extension DataPlaneSnapshot.Templates {
    fileprivate init?(of maps: DirectorMaps, now: UInt32) {
        guard let use = maps.templateUse else { return nil }
        let full = maps.tableLoad.field(\.templates_full).pointee
        self.init(used: use.used, limit: use.limit, full: secondsAgo(full, now: now))
    }
}

/// Returns the age of a stamp in seconds; nil where it was never set.
private func secondsAgo(_ stamp: UInt32, now: UInt32) -> Double? {
    stamp == 0 ? nil : XDPDataPlane.exactSeconds(ticks: Int(now &- stamp))
}
