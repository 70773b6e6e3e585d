public import BPF
internal import DataPlane
internal import Glibc
internal import LoadBalancing
internal import PacketPrograms
internal import SystemCalls

/// The pinned maps of the packet programs in one directory. Array maps are mapped into memory.
/// Members with types of the shared header are internal, since the optimizer finds their conformances only in this
/// module.
public final class DirectorMaps: Sendable {
    let listeners: BPFMap<ipvsd_listener_key, ipvsd_listener_value>
    let statistics: BPFMap<UInt32, ipvsd_statistics>
    let carried: MappedArray<ipvsd_statistics>
    /// The layout of the maps, from `IPVSD_OLDEST_ABI_VERSION` on.
    let layout: UInt32
    /// Nil in layout 3, as is `carriedCounters`.
    let counters: BPFMap<UInt32, ipvsd_counters>?
    /// The sums of the previous layout's counters.
    let carriedCounters: MappedArray<ipvsd_counters>?
    /// The counters of layout 3, which count on until the migration is over.
    let countersOfLayout3: BPFMap<UInt32, ipvsd_counters_3>?
    let learntPorts: BPFMap<ipvsd_port, UInt64>
    let answeredPorts: BPFMap<ipvsd_port, UInt64>
    /// Nil in an older data plane.
    let strays: BPFMap<ipvsd_stray_key, ipvsd_stray>?
    let egress: BPFMap<UInt32, UInt32>
    let settings: MappedArray<ipvsd_settings>
    let listenerCache: ListenerTable
    let services: MappedArray<ipvsd_service>
    let slots: MappedArray<ipvsd_slots>
    let servers: MappedArray<ipvsd_server>
    let connectionCounts: MappedArray<ipvsd_conn_counts>
    let nextHops: MappedArray<ipvsd_next_hop>
    /// Nil in an older data plane, as is `idBlocks`.
    let outerIDs: MappedArray<UInt32>?
    let idBlocks: BPFMap<UInt32, UInt32>?
    let flows: MappedArray<ipvsd_bucket>
    /// The former flow table while `isMigrating`. Nil for the moment in which the map is made anew.
    let oldFlows: MappedArray<ipvsd_bucket>?
    let overflows: MappedArray<ipvsd_overflow>
    let tableLoad: MappedArray<ipvsd_table_load>
    let templates: BPFMap<ipvsd_template_key, ipvsd_template>
    /// Nil in an older data plane.
    let confirmedTemplates: BPFMap<ipvsd_template_key, ipvsd_template>?

    /// Opens the maps below `directory`; nil where there is no data plane. A reader also opens an older layout that no
    /// daemon has migrated yet.
    public convenience init?(directory: String, writable: Bool) throws(BPFError) {
        try self.init(
            directory: directory, oldest: UInt32(writable ? IPVSD_ABI_VERSION : IPVSD_OLDEST_ABI_VERSION),
            writable: writable)
    }

    /// Opens the maps at `places`; nil: at their present places. Throws EPROTO where the layout is older than `oldest`,
    /// or newer than this version's.
    init?(
        directory: String, places: PinPlaces? = nil, oldest: UInt32 = UInt32(IPVSD_ABI_VERSION), writable: Bool
    ) throws(BPFError) {
        let places = places ?? PinPlaces.present(below: directory)
        func present<Key, Value>(_ definition: MapDefinition<Key, Value>) throws(BPFError) -> BPFMap<Key, Value>? {
            let (map, path) = (definition.map, places.path(of: definition.map, below: directory))
            if let opened = try BPFMap<Key, Value>(name: map.name, pinnedAt: path) { return opened }
            // The map may have moved to its pin since.
            let pin = map.pin(below: directory)
            guard case .claimed = places, path != pin else { return nil }
            return try BPFMap<Key, Value>(name: map.name, pinnedAt: pin)
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
        // The version is zero where a daemon died before it had filled in the settings.
        let version = settings.field(\.abi_version).pointee
        guard version == 0 || (oldest...UInt32(IPVSD_ABI_VERSION)).contains(version) else {
            throw Self.refusal(of: version, below: directory)
        }
        layout = places.layout ?? (version == 0 ? UInt32(IPVSD_ABI_VERSION) : version)
        listeners = try pinned(MapCatalogue.listeners)
        statistics = try pinned(MapCatalogue.statistics)
        carried = try array(MapCatalogue.carried)
        if layout == 3 {
            (counters, carriedCounters) = (nil, nil)
        } else {
            counters = try pinned(MapCatalogue.counters)
            carriedCounters = try present(MapCatalogue.carriedCounters)?.memory(writable: writable)
        }
        let pin = MapCatalogue.counters.map.pin(below: directory)
        let mayBeSuperseded = places.path(of: MapCatalogue.counters.map, below: directory) != pin
        do throws(BPFError) {
            countersOfLayout3 = layout == 3 || mayBeSuperseded ? try BPFMap(name: "counters", pinnedAt: pin) : nil
        } catch  where mayBeSuperseded && error.code == EINVAL {
            // The new counters have moved to the pin since.
            countersOfLayout3 = nil
        }
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
        confirmedTemplates = try present(MapCatalogue.confirmedTemplates)
    }

    private static func refusal(of version: UInt32, below directory: String) -> BPFError {
        let remedy =
            (UInt32(IPVSD_OLDEST_ABI_VERSION)..<UInt32(IPVSD_ABI_VERSION)).contains(version)
            ? "the next start of ipvsd carries it over" : "'ipvsd cleanup' removes it"
        return BPFError(
            "use the data plane below \(directory): its layout is version \(version), mine is \(IPVSD_ABI_VERSION); "
                + remedy, code: EPROTO)
    }

    /// Returns the version of the layout; nil where there is no data plane.
    static func version(below directory: String) throws(BPFError) -> UInt32? {
        let map = MapCatalogue.settings.map
        return try BPFMap<UInt32, ipvsd_settings>(name: map.name, pinnedAt: map.pin(below: directory))?
            .value(for: 0)?.abi_version
    }

    /// Whether flows may still be in `oldFlows`.
    var isMigrating: Bool {
        get { settings.field(\.is_migrating).pointee != 0 }
        set { settings.field(\.is_migrating).pointee = newValue ? 1 : 0 }
    }

    /// Returns a real server's totals over all CPUs.
    func statistics(of id: UInt32) throws(BPFError) -> ipvsd_statistics {
        var total = carried[Int(id)]
        for cpu in try statistics.values(for: id) {
            total.connections &+= cpu.connections
            total.packets &+= cpu.packets
            total.bytes &+= cpu.bytes
        }
        return total
    }

    /// Returns the counters of packets, by `PacketCounter.name`.
    public func counterTotals() throws(BPFError) -> [String: UInt64] {
        let sums = try counterSums()
        return Dictionary(uniqueKeysWithValues: PacketCounter.all.map { ($0.name, sums[$0.index]) })
    }

    /// Returns each counter's sum over all CPUs, indexed by `ipvsd_counter`. The counts of the previous layout are
    /// added.
    func counterSums() throws(BPFError) -> [UInt64] {
        var sums = [UInt64](repeating: 0, count: Int(IPVSD_COUNTER_ROOM))
        try counters?.addWords(to: &sums)
        if let countersOfLayout3 {
            try countersOfLayout3.addWords(to: &sums)
        } else if let carried = carriedCounters?.field(\.count, as: UInt64.self) {
            for index in sums.indices { sums[index] &+= carried[index] }
        }
        return sums
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

extension BPFMap where Key == UInt32 {
    /// Adds the words of the first row, of all CPUs, to the sums.
    fileprivate func addWords(to sums: inout [UInt64]) throws(BPFError) {
        for cpu in try values(for: 0) {
            withUnsafeBytes(of: cpu) { raw in
                for (index, word) in zip(sums.indices, raw.bindMemory(to: UInt64.self)) { sums[index] &+= word }
            }
        }
    }
}

extension BPFObject {
    /// Reuses the pinned maps. Has to be called before `load()`.
    func reuseDirectorMaps(below directory: String) throws(BPFError) {
        let places = PinPlaces.present(below: directory)
        for map in MapCatalogue.all {
            // A larger table that is not published yet is about to replace the pinned one.
            let next = map.nextPin(below: directory)
            let path = File.exists(next) ? next : places.path(of: map, below: directory)
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
