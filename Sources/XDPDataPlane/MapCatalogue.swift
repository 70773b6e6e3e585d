internal import BPF
internal import Glibc
internal import PacketPrograms

/// A pinned map of the packet programs, with its rules for loading, growth, migration and adoption.
struct PinnedMap: Sendable {
    /// The number of entries that a map is made with.
    typealias Size = @Sendable (Capacity) -> Int

    /// The name in maps.h.
    let name: String
    /// The file name below the data plane's directory. It is the map's name in layout 3, so that daemons of all layouts
    /// find the maps.
    let pin: String
    /// The size rule; nil: maps.h has a fixed size.
    let size: Size?
    let growth: GrowthRule
    let migration: MigrationRule
    /// Whether a data plane may lack the map. An older data plane may lack it, and so may any data plane while the map
    /// is being replaced.
    let isOptional: Bool

    func pin(below directory: String) -> String { "\(directory)/\(pin)" }

    /// Returns the path of a larger map that waits to replace the one in use. (bpffs refuses a dot in a name.)
    func nextPin(below directory: String) -> String { "\(directory)/\(pin)-next" }

    /// Returns the path of the map during a migration to this layout.
    func waitingPin(below directory: String) -> String { LayoutMigration.waitingPin(pin(below: directory)) }
}

extension PinnedMap: Hashable {
    static func == (one: PinnedMap, other: PinnedMap) -> Bool { one.name == other.name }
    func hash(into hasher: inout Hasher) { hasher.combine(name) }
}

/// A map with the types of its rows.
struct MapDefinition<Key: BitwiseCopyable, Value: BitwiseCopyable>: Sendable {
    let map: PinnedMap

    init(
        _ name: String, pin: String? = nil, size: PinnedMap.Size? = nil, growth: GrowthRule = .startsEmpty,
        migration: MigrationRule = .kept, isOptional: Bool = false
    ) {
        map = PinnedMap(
            name: name, pin: pin ?? name, size: size, growth: growth, migration: migration, isOptional: isOptional)
    }
}

/// All pinned maps, each with its name, key, value, size, and rules for growth and migration.
enum MapCatalogue {
    static let settings = MapDefinition<UInt32, ipvsd_settings>("settings")
    static let listeners = MapDefinition<ipvsd_listener_key, ipvsd_listener_value>(
        "listeners", pin: "services", size: { Int(IPVSD_LISTENER_WAYS) * $0.listenerBuckets },
        growth: .copied { old, new throws(BPFError) in try TableGrowth.copyRows(old.listeners, new.listeners) },
        migration: .anew(copy: { old, new, _ throws(BPFError) in
            for (key, value) in Layout4.rows(of: try old.listeners.entries()) {
                try new.listeners.update(value, for: key)
            }
        }))
    static let listenerCache = MapDefinition<UInt32, ipvsd_listener_bucket>(
        "listener_cache", pin: "listeners", size: { $0.listenerBuckets },
        growth: .copied { old, new throws(BPFError) in try TableGrowth.fillListenerCache(of: new, from: old) },
        migration: .anew(copy: { _, new, _ throws(BPFError) in try TableGrowth.fillListenerCache(of: new, from: new) }))
    static let services = MapDefinition<UInt32, ipvsd_service>(
        "services", pin: "schedules", size: { $0.services },
        growth: .copied { TableGrowth.copyRows($0.services, $1.services) })
    static let slots = MapDefinition<UInt32, ipvsd_slots>(
        "slots", size: { $0.slotGroups }, growth: .copied { TableGrowth.copyRows($0.slots, $1.slots) })
    static let servers = MapDefinition<UInt32, ipvsd_server>(
        "servers", size: { $0.servers }, growth: .copied { TableGrowth.copyRows($0.servers, $1.servers) })
    static let connectionCounts = MapDefinition<UInt32, ipvsd_conn_counts>(
        "conn_counts", pin: "loads", size: { $0.servers }, growth: .connectionCounts)
    static let nextHops = MapDefinition<UInt32, ipvsd_next_hop>(
        "next_hops", pin: "paths", size: { 2 * $0.servers },
        growth: .copied { TableGrowth.copyRows($0.nextHops, $1.nextHops) })
    static let outerIDs = MapDefinition<UInt32, UInt32>(
        "outer_ids", size: { 2 * $0.servers }, growth: .outerIDs, isOptional: true)
    static let idBlocks = MapDefinition<UInt32, UInt32>("id_blocks", size: { 2 * $0.servers }, isOptional: true)
    static let statistics = MapDefinition<UInt32, ipvsd_statistics>(
        "statistics", size: { $0.servers }, growth: .statistics)
    static let carried = MapDefinition<UInt32, ipvsd_statistics>(
        "carried", size: { $0.servers }, growth: .copied { TableGrowth.copyRows($0.carried, $1.carried) })
    static let counters = MapDefinition<UInt32, ipvsd_counters>("counters", migration: .anew())
    /// The sums of `counters` in the previous layout. A new per-CPU map begins at zero.
    static let carriedCounters = MapDefinition<UInt32, ipvsd_counters>(
        "carried_counters",
        migration: .anew(catchUp: { old, new throws(BPFError) in
            let sums = try old.counterSums()
            guard let words = new.carriedCounters?.field(\.count, as: UInt64.self) else { return }
            for (index, sum) in sums.enumerated() { words[index] = sum }
        }), isOptional: true)
    static let flows = MapDefinition<UInt32, ipvsd_bucket>("flows", size: { $0.flowBuckets }, growth: .flows)
    /// The smaller flow table before `flows`, while flows are moved.
    static let oldFlows = MapDefinition<UInt32, ipvsd_bucket>(
        "old_flows", pin: "former", size: { _ in 1 }, isOptional: true)
    static let overflows = MapDefinition<UInt32, ipvsd_overflow>(
        "overflows", size: { $0.flowBuckets / Int(IPVSD_OVERFLOW_BUCKETS) }, growth: .overflows)
    static let tableLoad = MapDefinition<UInt32, ipvsd_table_load>("table_load", pin: "pressure")
    static let templates = MapDefinition<ipvsd_template_key, ipvsd_template>(
        "templates", size: { $0.templates }, growth: .templates { $0.templates })
    static let confirmedTemplates = MapDefinition<ipvsd_template_key, ipvsd_template>(
        "confirmed_templates", pin: "confirmed", size: { $0.templates }, growth: .templates { $0.confirmedTemplates },
        migration: .anew(copy: confirmAll), isOptional: true)
    /// Confirms all templates of layout 3, which does not distinguish confirmed ones. A client that comes after the
    /// copy is confirmed by a later packet, since both programs have it in `templates`.
    private static let confirmAll: MigrationRule.Copy = { old, new, now throws(BPFError) in
        guard let confirmed = new.confirmedTemplates else { return }
        for (key, template) in try old.templates.entries() where !new.isOver(template, of: key, now: now) {
            do throws(BPFError) { _ = try confirmed.insert(template, for: key) } catch  where error.code == E2BIG {
                // The other clients stay in `templates`.
                return
            }
        }
    }
    static let fragments = MapDefinition<ipvsd_datagram, ipvsd_fragments>("fragments")
    static let learntPorts = MapDefinition<ipvsd_port, UInt64>("learnt_ports")
    static let answeredPorts = MapDefinition<ipvsd_port, UInt64>("answered_ports")
    static let strays = MapDefinition<ipvsd_stray_key, ipvsd_stray>("strays", isOptional: true)
    static let egress = MapDefinition<UInt32, UInt32>("egress")

    static let all: [PinnedMap] = [
        settings.map, listeners.map, listenerCache.map, services.map, slots.map, servers.map, connectionCounts.map,
        nextHops.map, statistics.map, carried.map, counters.map, flows.map, oldFlows.map, overflows.map, tableLoad.map,
        templates.map, fragments.map, learntPorts.map, answeredPorts.map, strays.map, egress.map,
        outerIDs.map, idBlocks.map, carriedCounters.map, confirmedTemplates.map,
    ]
}

/// The maps that programs of other targets share with the packet programs.
public enum SharedMap: Sendable {
    case settings, counters, flows

    public func pin(below directory: String) -> String {
        switch self {
        case .settings: MapCatalogue.settings.map.pin(below: directory)
        case .counters: PinPlaces.present(below: directory).path(of: MapCatalogue.counters.map, below: directory)
        case .flows: MapCatalogue.flows.map.pin(below: directory)
        }
    }

    /// Returns the pin of a map of a director's object file. `names` are the names of all its maps. An object file from
    /// before maps were renamed lacks listener_cache, and its maps have the names of their pins.
    public static func pin(of name: String, among names: Set<String>, below directory: String) -> String {
        let isRenamed = names.contains(MapCatalogue.listenerCache.map.name)
        let map = isRenamed ? MapCatalogue.all.first { $0.name == name } : nil
        return map?.pin(below: directory) ?? "\(directory)/\(name)"
    }
}
