public import BPF
internal import Glibc
public import LoadBalancing
internal import PacketPrograms

/// What the maps say at a moment, with or without a daemon.
public struct DataPlaneSnapshot: Sendable {
    public struct Server: Sendable {
        public var id: UInt32
        public var address: IPv4Address
        public var configuredWeight: UInt16
        /// What the schedulers use: 0 while the server is down.
        public var weight: UInt16
        public var isDown: Bool
        /// No longer configured; its connections go on.
        public var isRemoved: Bool
        /// Configured, but in no table now; its connections go on.
        public var isStandby: Bool
        /// Its persistent clients go elsewhere with their next connection.
        public var movesPersistent = false
        /// Of its share: less than all while it starts slowly.
        public var tenths = SlowStart.whole
        public var thresholds: ConnectionThresholds?
        /// Gets no new connections, because of its thresholds.
        public var isOverloaded: Bool
        public var active: UInt32
        public var inactive: UInt32
        public var connections: UInt64
        public var packets: UInt64
        /// Inner IP length.
        public var bytes: UInt64
        /// The outer packet's source, where the way is known.
        public var source: IPv4Address?
        public var hasNextHop: Bool
        /// It is the director itself.
        public var isLocal: Bool
    }

    public struct Service: Sendable {
        public var index: UInt32
        /// The first of `listeners`.
        public var address: ServiceAddress
        public var listeners: [ServiceAddress]
        public var scheduler: Scheduler
        public var flags: Set<SchedulerFlag>
        public var onServerLoss: ServerLoss
        public var persistence: Persistence?
        public var isOnePacket: Bool
        /// 0 where no server is available.
        public var maglevSize: Int
        public var servers: [Server]

        /// The server stood by, and others served: it was a sorry server that was not needed. A real server whose place
        /// a sorry server had stands by, too, but so do the others.
        public func spared(_ server: IPv4Address) -> Bool {
            let present = servers.filter { !$0.isRemoved }
            return present.contains { $0.address == server && $0.isStandby }
                && present.contains { !$0.isDown && !$0.isStandby }
                && !present.contains { $0.address != server && $0.isStandby }
        }
    }

    public struct Flood: Sendable {
        /// Connections whose handshake has not completed.
        public var halfOpen: UInt32
        /// At so many, new ones are not recorded; 0: never.
        public var limit: UInt32
        /// Seconds ago: the limit was reached last, and first in the same flood.
        public var last: Double?
        public var since: Double?
    }

    public var services: [Service]
    public var flood: Flood
    public var flowTableSize: Int
    /// By `PacketCounter.name`.
    public var counters: [String: UInt64]

    /// `now`: the 32-bit tick.
    public init(of maps: DirectorMaps, now: UInt32) throws(BPFError) {
        var services: [UInt32: Service] = [:]
        for key in try maps.services.keys() {
            guard key.protocol != 0, let value = try maps.services.value(for: key) else { continue }
            let row = maps.schedules[Int(value.service)]
            guard let scheduler = Scheduler(packedName: row.name) else { continue }
            let address = ServiceAddress(key: key)
            var service =
                services[value.service]
                ?? Service(
                    index: value.service, address: address, listeners: [], scheduler: scheduler,
                    flags: SchedulerFlag.flags(of: scheduler, word: row.schedule),
                    onServerLoss: ServerLoss(flags: UInt32(value.flags)),
                    persistence: maps.persistence(ofService: value), isOnePacket: false,
                    maglevSize: XDPDataPlane.slice(of: row.maglev).size, servers: [])
            if !service.listeners.contains(address) { service.listeners.append(address) }
            if UInt32(value.flags) & IPVSD_SERVICE_ONE_PACKET != 0 { service.isOnePacket = true }
            services[value.service] = service
        }
        for index in services.keys {
            services[index]?.listeners.sort {
                ($0.vip, $0.port ?? 0, $0.transport?.number ?? 0) < ($1.vip, $1.port ?? 0, $1.transport?.number ?? 0)
            }
            if let first = services[index]?.listeners.first { services[index]?.address = first }
        }
        for id in 1..<maps.servers.count {
            let row = maps.servers[id]
            guard row.flags & UInt16(IPVSD_SERVER_USED) != 0, services[UInt32(row.service)] != nil else { continue }
            services[UInt32(row.service)]?.servers.append(try Server(id: UInt32(id), row: row, maps: maps))
        }
        self.services = services.values.sorted {
            ($0.address.vip, $0.address.port ?? 0, $0.index) < ($1.address.vip, $1.address.port ?? 0, $1.index)
        }
        self.counters = try maps.counterTotals()
        self.flowTableSize = maps.flows.count * Int(IPVSD_WAYS)
        let pressure = maps.pressure[0]
        func ago(_ stamp: UInt32) -> Double? {
            stamp == 0 ? nil : Double(UInt64(now &- stamp) << UInt64(IPVSD_TICK_SHIFT)) / 1e9
        }
        self.flood = Flood(
            // A count may be taken down a moment before it is put up.
            halfOpen: UInt32(max(Int32(bitPattern: pressure.half_open), 0)),
            limit: maps.settings.pointer(0).load(fromByteOffset: halfOpenLimitOffset, as: UInt32.self),
            last: ago(pressure.last), since: ago(pressure.since))
    }
}

extension DataPlaneSnapshot.Server {
    init(id: UInt32, row: ipvsd_server, maps: DirectorMaps) throws(BPFError) {
        let load = maps.loads[Int(id)]
        let path = maps.paths[Int(row.path)]
        let total = try maps.statistics(of: id)
        self.init(
            id: id, address: IPv4Address(bigEndian: row.address), configuredWeight: row.configured_weight,
            weight: row.weight, isDown: row.flags & UInt16(IPVSD_SERVER_DOWN) != 0,
            isRemoved: row.isRemoved,
            isStandby: row.flags & UInt16(IPVSD_SERVER_STANDBY) != 0,
            movesPersistent: row.flags & UInt16(IPVSD_SERVER_MOVES) != 0,
            tenths: SlowStart.whole - Int(row.flags >> UInt16(IPVSD_SERVER_WITHHELD_SHIFT)), thresholds: row.thresholds,
            isOverloaded: row.isOverloaded(by: load), active: load.active, inactive: load.inactive,
            connections: total.connections, packets: total.packets, bytes: total.bytes,
            source: path.ifindex == 0 ? nil : IPv4Address(bigEndian: path.source),
            hasNextHop: path.flags & (IPVSD_PATH_RESOLVED | IPVSD_PATH_LOCAL) != 0,
            isLocal: path.flags & IPVSD_PATH_LOCAL != 0)
    }
}

extension ipvsd_server {
    var isRemoved: Bool { UInt32(flags) & (IPVSD_SERVER_REMOVED | IPVSD_SERVER_STANDBY) == IPVSD_SERVER_REMOVED }
}

extension SchedulerFlag {
    /// As a schedule's word has them.
    static func flags(of scheduler: Scheduler, word: UInt64) -> Set<SchedulerFlag> {
        let bits = UInt32(word >> 56)
        var flags: Set<SchedulerFlag> = []
        for flag in allCases where flag.scheduler == scheduler {
            let bit: UInt32 =
                switch flag {
                case .shPort, .mhPort: IPVSD_SCHEDULER_BY_PORT
                case .shFallback, .mhFallback: IPVSD_SCHEDULER_FALLBACK
                }
            if bits & bit != 0 { flags.insert(flag) }
        }
        return flags
    }
}

extension ServerLoss {
    /// Of a listener.
    init(flags: UInt32) {
        self =
            flags & IPVSD_SERVICE_RESETS != 0 ? .reset : flags & IPVSD_SERVICE_REHASHES != 0 ? .rehash : .keep
    }
}

extension DirectorMaps {
    func persistence(ofService value: ipvsd_service_value) -> Persistence? {
        guard UInt32(value.flags) & IPVSD_SERVICE_PERSISTENT != 0 else { return nil }
        let row = schedules[Int(value.service)]
        let seconds = XDPDataPlane.seconds(ticks: Int(row.persistence))
        return Persistence(
            timeout: min(max(seconds, Persistence.timeouts.lowerBound), Persistence.timeouts.upperBound),
            prefixLength: max(UInt32(bigEndian: row.netmask).nonzeroBitCount, 1))
    }
}

let scheduleNameOffset = MemoryLayout<ipvsd_service>.offset(of: \.name) ?? 24

extension Scheduler {
    /// Up to eight ASCII characters in a word, the first in the lowest byte.
    var packedName: UInt64 {
        rawValue.utf8.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    init?(packedName: UInt64) {
        guard let scheduler = Scheduler.allCases.first(where: { $0.packedName == packedName }) else { return nil }
        self = scheduler
    }
}

extension ServiceAddress {
    init(key: ipvsd_service_key) {
        let vip = IPv4Address(bigEndian: key.vip)
        let transport = TransportProtocol.allCases.first { $0.number == key.protocol }
        if key.port != 0, let transport {
            self.init(vip: vip, port: UInt16(bigEndian: key.port), transport: transport)
        } else {
            self.init(vip: vip)
        }
    }

    /// What the packet program looks up, one key for each protocol.
    var keys: [(key: ipvsd_service_key, transport: TransportProtocol)] {
        (transport.map { [$0] } ?? TransportProtocol.allCases).map { transport in
            let key = ipvsd_service_key(
                vip: vip.bigEndian, port: (port ?? 0).bigEndian, protocol: transport.number, reserved: 0)
            return (key, transport)
        }
    }
}

extension DesiredService {
    func flags(anyPort: Bool, transport: TransportProtocol) -> UInt16 {
        var flags: UInt32 =
            switch onServerLoss {
            case .keep: 0
            case .reset: IPVSD_SERVICE_RESETS
            case .rehash: IPVSD_SERVICE_REHASHES
            }
        if anyPort { flags |= IPVSD_SERVICE_ANY_PORT }
        if persistence != nil { flags |= IPVSD_SERVICE_PERSISTENT }
        if isOnePacket, transport == .udp { flags |= IPVSD_SERVICE_ONE_PACKET }
        return UInt16(flags)
    }
}

extension DirectorMaps {
    public func counterTotals() throws(BPFError) -> [String: UInt64] {
        var totals = [UInt64](repeating: 0, count: Int(IPVSD_COUNTERS.rawValue))
        for cpu in try counters.values(for: 0) {
            withUnsafeBytes(of: cpu) { raw in
                for (index, value) in raw.bindMemory(to: UInt64.self).enumerated() { totals[index] &+= value }
            }
        }
        return Dictionary(uniqueKeysWithValues: PacketCounter.all.map { ($0.name, totals[$0.index]) })
    }
}

extension DesiredService {
    /// The service as it is.
    public init(_ service: DataPlaneSnapshot.Service) {
        self.init(
            address: service.address, scheduler: service.scheduler, flags: service.flags,
            onServerLoss: service.onServerLoss,
            persistence: service.persistence, isOnePacket: service.isOnePacket,
            otherAddresses: Array(service.listeners.dropFirst()),
            maglevSize: service.maglevSize == 0 ? nil : service.maglevSize,
            servers: service.servers.filter { !$0.isRemoved }.map {
                var server = Server(
                    address: $0.address, configuredWeight: $0.configuredWeight, isDown: $0.isDown,
                    thresholds: $0.thresholds)
                server.isStandby = $0.isStandby
                server.movesPersistent = $0.movesPersistent
                if !$0.isDown, !$0.isStandby, $0.weight != $0.configuredWeight { server.ownWeight = $0.weight }
                return server
            })
    }
}
