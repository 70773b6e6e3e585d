public import BPF
public import LoadBalancing
internal import Netlink
internal import PacketPrograms

/// Read from the maps, of which nothing is changed.
extension PacketTables {
    /// With or without a daemon; nil where there is no data plane below `directory`.
    public init?(for packet: ExplainedPacket, directory: String) throws(BPFError) {
        guard let maps = try DirectorMaps(directory: directory, writable: false),
            let now = try XDPDataPlane.tick(below: directory),
            let constants = try BPFProgram(pinnedAt: XDPDataPlane.programPin(directory: directory))?
                .readOnlyData(as: ipvsd_director_constants.self)
        else { return nil }
        self = try PacketTables(for: packet, of: maps, constants: constants, now: now)
    }

    init(
        for packet: ExplainedPacket, of maps: DirectorMaps, constants: ipvsd_director_constants, now: UInt32
    ) throws(BPFError) {
        try self.init(recordOf: packet, in: maps, constants: constants, now: now)
        guard let listener, let places else { return }
        let service = try Service(index: listener.service, of: maps)
        self.service = service
        if listener.has(IPVSD_SERVICE_PERSISTENT) {
            let key = ipvsd_template_key(
                client: packet.client.bigEndian & service.row.netmask, service: listener.service)
            template = try maps.templates.value(for: key)
        }
        var ids = Set(maps.usedServers.map(UInt32.init).filter { maps.servers[Int($0)].service == listener.service })
        ids.formUnion(service.slots + service.maglev)
        ids.formUnion(([places.first, places.second] + places.former).joined().map { $0.server })
        if let template { ids.insert(template.server) }
        for id in ids where id != 0 && id < maps.servers.count { servers[id] = Server(id: id, of: maps) }
    }
}

extension PacketTables {
    /// Reads the flow's record alone, without its service and real servers.
    fileprivate init(
        recordOf packet: ExplainedPacket, in maps: DirectorMaps, constants: ipvsd_director_constants, now: UInt32
    ) throws(BPFError) {
        self.now = now
        settings = Settings(of: maps, constants: constants)
        pressure = Pressure(of: maps)
        isVIP = try maps.isVIP(packet.vip)
        isClientVIP = try maps.isVIP(packet.client)
        listener = try Listener(for: packet, of: maps)
        service = nil
        servers = [:]
        guard let listener else { return }
        let key = ipvsd_flow_key(packet.client.bigEndian, packet.clientPort.bigEndian, listener.flowID)
        places = Places(key: key, seed: settings.seed, maps: maps)
    }
}

extension XDPDataPlane {
    /// Returns whether packets of this flow go to this real server: it is recorded so, or may go on without a record.
    public func mayHaveSent(_ packet: ExplainedPacket, to server: IPv4Address) throws(BPFError) -> Bool {
        let tables = try PacketTables(recordOf: packet, in: maps, constants: constants, now: tick())
        guard let listener = tables.listener else { return false }
        guard let hit = tables.find(port: packet.port) else {
            return listener.has(IPVSD_SERVICE_ONE_PACKET) || tables.hasOverflowed || tables.hasBeenFlooded
        }
        return IPv4Address(bigEndian: maps.servers[Int(hit.entry.server)].address) == server
    }
}

extension PacketTables.Listener {
    /// The exact one, or that of all ports.
    fileprivate init?(for packet: ExplainedPacket, of maps: DirectorMaps) throws(BPFError) {
        for port in [packet.port, 0] {
            let key = ipvsd_listener_key(
                vip: packet.vip.bigEndian, port: port.bigEndian, protocol: packet.transport.number, reserved: 0)
            guard let value = try maps.listeners.value(for: key) else { continue }
            self.init(
                address: ServiceAddress(key: key), service: value.service, flowID: value.flow_service,
                flags: UInt32(value.flags))
            return
        }
        return nil
    }
}

extension PacketTables.Service {
    fileprivate init(index: UInt32, of maps: DirectorMaps) throws(BPFError) {
        var listeners: Set<ServiceAddress> = []
        for (key, value) in try maps.listeners.entries() where key.protocol != 0 && value.service == index {
            listeners.insert(ServiceAddress(key: key))
        }
        func slots(_ word: UInt64) -> [UInt32] {
            let slice = XDPDataPlane.slice(of: word)
            return (slice.first..<slice.first + slice.size).map { maps.slotValue($0) }
        }
        // A slice that gave way to another rests before it is used again: long enough to be read, but for a process
        // that was stopped meanwhile.
        var row = maps.services[Int(index)]
        var tables = (slots(row.schedule), slots(row.maglev))
        for _ in 0..<3 {
            let again = maps.services[Int(index)]
            if (again.schedule, again.maglev) == (row.schedule, row.maglev) { break }
            row = again
            tables = (slots(row.schedule), slots(row.maglev))
        }
        self.init(
            row: row,
            listeners: listeners.sorted {
                ($0.vip, $0.port ?? 0, $0.transport?.number ?? 0) < ($1.vip, $1.port ?? 0, $1.transport?.number ?? 0)
            }, slots: tables.0, maglev: tables.1)
    }
}

extension DirectorMaps {
    fileprivate func isVIP(_ address: IPv4Address) throws(BPFError) -> Bool {
        let key = ipvsd_listener_key(vip: address.bigEndian, port: 0, protocol: 0, reserved: 0)
        return try listeners.value(for: key) != nil
    }

    fileprivate func slotValue(_ index: Int) -> UInt32 {
        index / Int(IPVSD_SLOT_GROUP) < slots.count ? UInt32(slot(index).pointee) : 0
    }
}

extension PacketTables.Server {
    fileprivate init(id: UInt32, of maps: DirectorMaps) {
        let row = maps.servers[Int(id)]
        self.init(
            id: id, row: row, load: maps.connectionCounts[Int(id)],
            path: Int(row.next_hop) < maps.nextHops.count ? Path(row: maps.nextHops[Int(row.next_hop)]) : nil)
    }
}

extension PacketTables.Places {
    fileprivate init(key: UInt64, seed: UInt64, maps: DirectorMaps) {
        let home = FlowHome(key: key, seed: seed, buckets: maps.flows.count)
        func entries(_ table: MappedArray<ipvsd_bucket>, _ bucket: Int) -> [Entry] {
            let entries = table.entries(ofBucket: bucket)
            return (0..<Int(IPVSD_WAYS)).map { way in
                let entry = (entries + (home.half ^ way)).load()
                return Entry(key: entry.key, value: entry.value)
            }
        }
        var former: [[Entry]] = []
        if maps.isMigrating, let table = maps.oldFlows {
            let home = FlowHome(key: key, seed: seed, buckets: table.count)
            former = [entries(table, home.bucket), entries(table, home.second)]
        }
        let row = Int(ipvsd_overflow_row(UInt32(home.bucket)))
        let place = Int(ipvsd_overflow_place(UInt32(home.bucket)))
        self.init(
            home: home, first: entries(maps.flows, home.bucket), second: entries(maps.flows, home.second),
            former: former, hasSpilled: maps.overflows.field(\.spilled, of: row, as: UInt16.self)[place] != 0,
            overflowStamp: maps.overflows.field(\.stamp, of: row, as: UInt16.self)[place])
    }
}

extension PacketTables.Pressure {
    fileprivate init(of maps: DirectorMaps) {
        let row = maps.tableLoad[0]
        self.init(halfOpen: Int32(bitPattern: row.half_open), last: row.last, swept: row.last_daemon_gc)
    }
}

extension PacketTables.Settings {
    fileprivate init(of maps: DirectorMaps, constants: ipvsd_director_constants) {
        let row = maps.settings
        let ownMACs = row.field(\.own_mac, as: UInt64.self)
        let macs = (0..<Int(IPVSD_OWN_MACS)).compactMap { index in
            let word = ownMACs[index]
            // The complement stands for a macvlan without a VIP.
            return word >> 48 != 0 ? nil : MACAddress((0..<6).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) })
        }
        let hostMask = UInt32(bigEndian: constants.outer_mask)
        self.init(
            ingressMTU: Int(row.field(\.ingress_mtu).pointee),
            seed: row.field(\.seed).pointee,
            timeouts: maps.timeouts,
            silentAfter: row.field(\.silent_after).pointee,
            halfOpenLimit: row.field(\.half_open_limit).pointee,
            fragmentingInterface: Int32(truncatingIfNeeded: maps.fragmentingInterface),
            ownMACs: ownMACs[0] == 0
                ? [] : Set(macs).sorted { $0.description < $1.description },
            outerSources: hostMask == 0
                ? nil
                : IPv4Prefix(
                    IPv4Address(bigEndian: constants.outer_prefix), length: hostMask.leadingZeroBitCount),
            repliesPerSecond: constants.reply_limit)
    }
}
