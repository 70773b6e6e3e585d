public import BPF
internal import DataPlane
internal import Glibc
internal import LoadBalancing
internal import PacketPrograms

/// The maps of the packet programs, pinned in one directory, with their array maps in memory.
///
/// What has types of the shared header stays inside this module: the optimizer finds their conformances nowhere else.
public final class DirectorMaps: Sendable {
    let listeners: BPFMap<ipvsd_listener_key, ipvsd_listener_value>
    let statistics: BPFMap<UInt32, ipvsd_statistics>
    let carried: MappedArray<ipvsd_statistics>
    let counters: BPFMap<UInt32, ipvsd_counters>
    let learntPorts: BPFMap<ipvsd_port, UInt64>
    let answeredPorts: BPFMap<ipvsd_port, UInt64>
    /// Nil where the data plane is an older one.
    let strays: BPFMap<ipvsd_stray_key, ipvsd_stray>?
    let egress: BPFMap<UInt32, UInt32>
    let settings: MappedArray<ipvsd_settings>
    let listenerCache: ListenerTable
    let services: MappedArray<ipvsd_service>
    let slots: MappedArray<ipvsd_slots>
    let servers: MappedArray<ipvsd_server>
    let connectionCounts: MappedArray<ipvsd_conn_counts>
    let nextHops: MappedArray<ipvsd_next_hop>
    /// Nil, as is the next, where the data plane is an older one.
    let outerIDs: MappedArray<UInt32>?
    let idBlocks: BPFMap<UInt32, UInt32>?
    let flows: MappedArray<ipvsd_bucket>
    /// The flow table before this one, while `isMigrating`; nil for the moment in which it is made anew.
    let oldFlows: MappedArray<ipvsd_bucket>?
    let overflows: MappedArray<ipvsd_overflow>
    let tableLoad: MappedArray<ipvsd_table_load>
    let templates: BPFMap<ipvsd_template_key, ipvsd_template>

    public convenience init?(directory: String, writable: Bool) throws(BPFError) {
        try self.init(directory: directory, grown: [], writable: writable)
    }

    /// Opens what is pinned below `directory`, of the `grown` ones the new tables; nil where there is no data plane.
    /// Throws where it has another layout.
    init?(directory: String, grown: Set<PinnedMap>, writable: Bool) throws(BPFError) {
        func present<Key, Value>(_ definition: MapDefinition<Key, Value>) throws(BPFError) -> BPFMap<Key, Value>? {
            let map = definition.map
            let path = grown.contains(map) ? map.nextPin(below: directory) : map.pin(below: directory)
            return try BPFMap<Key, Value>(name: map.name, pinnedAt: path)
        }
        func pinned<Key, Value>(_ definition: MapDefinition<Key, Value>) throws(BPFError) -> BPFMap<Key, Value> {
            guard let map = try present(definition) else { throw definition.map.isMissing(below: directory) }
            return map
        }
        func array<Value>(_ definition: MapDefinition<UInt32, Value>) throws(BPFError) -> MappedArray<Value> {
            try pinned(definition).memory(writable: writable)
        }
        guard try BPFDescriptor(pinnedAt: MapCatalogue.settings.map.pin(below: directory)) != nil else { return nil }
        settings = try array(MapCatalogue.settings)
        // A zero version: loaded by a daemon that did not live to fill it in.
        let version = settings.field(\.abi_version).pointee
        guard version == UInt32(IPVSD_ABI_VERSION) || version == 0 else {
            throw BPFError(
                "use the data plane below \(directory): its layout is version \(version), mine is \(IPVSD_ABI_VERSION); "
                    + "'ipvsd cleanup' removes it", code: EPROTO)
        }
        listeners = try pinned(MapCatalogue.listeners)
        statistics = try pinned(MapCatalogue.statistics)
        carried = try array(MapCatalogue.carried)
        counters = try pinned(MapCatalogue.counters)
        learntPorts = try pinned(MapCatalogue.learntPorts)
        answeredPorts = try pinned(MapCatalogue.answeredPorts)
        strays = try present(MapCatalogue.strays)
        egress = try pinned(MapCatalogue.egress)
        listenerCache = ListenerTable(buckets: try array(MapCatalogue.listenerCache))
        services = try array(MapCatalogue.services)
        slots = try array(MapCatalogue.slots)
        servers = try array(MapCatalogue.servers)
        connectionCounts = try array(MapCatalogue.connectionCounts)
        nextHops = try array(MapCatalogue.nextHops)
        outerIDs = try present(MapCatalogue.outerIDs)?.memory(writable: writable)
        idBlocks = try present(MapCatalogue.idBlocks)
        flows = try array(MapCatalogue.flows)
        oldFlows = try present(MapCatalogue.oldFlows)?.memory(writable: writable)
        overflows = try array(MapCatalogue.overflows)
        tableLoad = try array(MapCatalogue.tableLoad)
        templates = try pinned(MapCatalogue.templates)
    }

    /// Flows may still be in `oldFlows`.
    var isMigrating: Bool {
        get { settings.field(\.is_migrating).pointee != 0 }
        set { settings.field(\.is_migrating).pointee = newValue ? 1 : 0 }
    }

    /// A real server's totals of all CPUs.
    func statistics(of id: UInt32) throws(BPFError) -> ipvsd_statistics {
        var total = carried[Int(id)]
        for cpu in try statistics.values(for: id) {
            total.connections &+= cpu.connections
            total.packets &+= cpu.packets
            total.bytes &+= cpu.bytes
        }
        return total
    }

    /// By `PacketCounter.name`.
    public func counterTotals() throws(BPFError) -> [String: UInt64] {
        var totals = [UInt64](repeating: 0, count: Int(IPVSD_COUNTERS.rawValue))
        for cpu in try counters.values(for: 0) {
            withUnsafeBytes(of: cpu) { raw in
                for (index, value) in zip(totals.indices, raw.bindMemory(to: UInt64.self)) { totals[index] &+= value }
            }
        }
        return Dictionary(uniqueKeysWithValues: PacketCounter.all.map { ($0.name, totals[$0.index]) })
    }

    func persistence(ofService value: ipvsd_listener_value) -> Persistence? {
        guard UInt32(value.flags) & IPVSD_SERVICE_PERSISTENT != 0 else { return nil }
        let row = services[Int(value.service)]
        let seconds = XDPDataPlane.seconds(ticks: Int(row.persistence))
        return Persistence(
            timeout: min(max(seconds, Persistence.timeouts.lowerBound), Persistence.timeouts.upperBound),
            prefixLength: max(UInt32(bigEndian: row.netmask).nonzeroBitCount, 1))
    }
}

extension BPFObject {
    /// Uses the maps that are pinned there. Before `load()`.
    func reuseDirectorMaps(below directory: String) throws(BPFError) {
        for map in MapCatalogue.all {
            // A larger table that is not published yet will be the table.
            let next = map.nextPin(below: directory)
            let path = access(next, F_OK) == 0 ? next : map.pin(below: directory)
            guard let pinned = try BPFDescriptor(pinnedAt: path) else {
                if map.isOptional { continue }
                throw map.isMissing(below: directory)
            }
            try reuse(descriptor: pinned.number, forMap: map.name)
        }
    }
}

extension PinnedMap {
    fileprivate func isMissing(below directory: String) -> BPFError {
        BPFError("open map \(pin) below \(directory)", code: ENOENT)
    }
}
