public import BPF
internal import Glibc
internal import LoadBalancing
internal import PacketPrograms

/// The maps of the packet programs, pinned in one directory, with their array maps in memory.
///
/// What has types of the shared header stays inside this module: the optimizer finds their conformances nowhere else.
public final class DirectorMaps: Sendable {
    static let names = [
        "settings", "services", "listeners", "schedules", "slots", "servers", "loads", "paths", "statistics", "carried",
        "counters", "flows", "former", "overflows", "pressure", "templates", "fragments", "learnt_ports",
        "answered_ports", "strays", "egress",
    ]

    let services: BPFMap<ipvsd_service_key, ipvsd_service_value>
    let statistics: BPFMap<UInt32, ipvsd_statistics>
    let carried: MappedArray<ipvsd_statistics>
    let counters: BPFMap<UInt32, ipvsd_counters>
    let learntPorts: BPFMap<ipvsd_port, UInt64>
    let answeredPorts: BPFMap<ipvsd_port, UInt64>
    /// Nil where the data plane is an older one.
    let strays: BPFMap<ipvsd_stray_key, ipvsd_stray>?
    let egress: BPFMap<UInt32, UInt32>
    let settings: MappedArray<ipvsd_settings>
    let listeners: ListenerTable
    let schedules: MappedArray<ipvsd_service>
    let slots: MappedArray<ipvsd_slots>
    let servers: MappedArray<ipvsd_server>
    let loads: MappedArray<ipvsd_load>
    let paths: MappedArray<ipvsd_path>
    let flows: MappedArray<ipvsd_bucket>
    /// The flow table before this one, while `isMoving`; nil for the moment in which it is made anew.
    let former: MappedArray<ipvsd_bucket>?
    let overflows: MappedArray<ipvsd_overflow>
    let pressure: MappedArray<ipvsd_pressure>
    let templates: BPFMap<ipvsd_template_key, ipvsd_template>

    public convenience init?(directory: String, writable: Bool) throws(BPFError) {
        try self.init(directory: directory, grown: [], writable: writable)
    }

    /// Opens what is pinned below `directory`, of the `grown` ones the new tables; nil where there is no data plane.
    /// Throws where it has another layout.
    init?(directory: String, grown: Set<String>, writable: Bool) throws(BPFError) {
        func pinned<Key, Value>(_ name: String, _: Key.Type, _: Value.Type) throws(BPFError) -> BPFMap<Key, Value> {
            let path = grown.contains(name) ? Self.nextPin(name, below: directory) : "\(directory)/\(name)"
            guard let map = try BPFMap<Key, Value>(name: name, pinnedAt: path) else {
                throw BPFError("open map \(name) below \(directory)", code: ENOENT)
            }
            return map
        }
        func array<Value>(_ name: String, _ type: Value.Type) throws(BPFError) -> MappedArray<Value> {
            try pinned(name, UInt32.self, type).memory(writable: writable)
        }
        guard try BPFDescriptor(pinnedAt: "\(directory)/settings") != nil else { return nil }
        settings = try array("settings", ipvsd_settings.self)
        // A zero version: loaded by a daemon that did not live to fill it in.
        let version = settings.pointer(0).load(as: UInt32.self)
        guard version == UInt32(IPVSD_ABI_VERSION) || version == 0 else {
            throw BPFError(
                "use the data plane below \(directory): its layout is version \(version), mine is \(IPVSD_ABI_VERSION); "
                    + "'ipvsd cleanup' removes it", code: EPROTO)
        }
        services = try pinned("services", ipvsd_service_key.self, ipvsd_service_value.self)
        statistics = try pinned("statistics", UInt32.self, ipvsd_statistics.self)
        carried = try array("carried", ipvsd_statistics.self)
        counters = try pinned("counters", UInt32.self, ipvsd_counters.self)
        learntPorts = try pinned("learnt_ports", ipvsd_port.self, UInt64.self)
        answeredPorts = try pinned("answered_ports", ipvsd_port.self, UInt64.self)
        strays = try BPFMap(name: "strays", pinnedAt: "\(directory)/strays")
        egress = try pinned("egress", UInt32.self, UInt32.self)
        listeners = ListenerTable(buckets: try array("listeners", ipvsd_listener_bucket.self))
        schedules = try array("schedules", ipvsd_service.self)
        slots = try array("slots", ipvsd_slots.self)
        servers = try array("servers", ipvsd_server.self)
        loads = try array("loads", ipvsd_load.self)
        paths = try array("paths", ipvsd_path.self)
        flows = try array("flows", ipvsd_bucket.self)
        former = try BPFMap<UInt32, ipvsd_bucket>(name: "former", pinnedAt: "\(directory)/former")?
            .memory(writable: writable)
        overflows = try array("overflows", ipvsd_overflow.self)
        pressure = try array("pressure", ipvsd_pressure.self)
        templates = try pinned("templates", ipvsd_template_key.self, ipvsd_template.self)
    }

    /// Where a larger table waits to take the place of the one that is in use. (bpffs takes no dot in a name.)
    static func nextPin(_ name: String, below directory: String) -> String { "\(directory)/\(name)-next" }

    /// Flows may still be in `former`.
    var isMoving: Bool {
        get { settings.pointer(0).load(fromByteOffset: isMovingOffset, as: UInt32.self) != 0 }
        set { settings.pointer(0).storeBytes(of: newValue ? 1 : 0, toByteOffset: isMovingOffset, as: UInt32.self) }
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
                for (index, value) in raw.bindMemory(to: UInt64.self).enumerated() { totals[index] &+= value }
            }
        }
        return Dictionary(uniqueKeysWithValues: PacketCounter.all.map { ($0.name, totals[$0.index]) })
    }

    func persistence(ofService value: ipvsd_service_value) -> Persistence? {
        guard UInt32(value.flags) & IPVSD_SERVICE_PERSISTENT != 0 else { return nil }
        let row = schedules[Int(value.service)]
        let seconds = XDPDataPlane.seconds(ticks: Int(row.persistence))
        return Persistence(
            timeout: min(max(seconds, Persistence.timeouts.lowerBound), Persistence.timeouts.upperBound),
            prefixLength: max(UInt32(bigEndian: row.netmask).nonzeroBitCount, 1))
    }
}

private let isMovingOffset = MemoryLayout<ipvsd_settings>.offset(of: \.is_moving) ?? 100

extension BPFObject {
    /// Uses the maps that are pinned there. Before `load()`.
    func reuseDirectorMaps(below directory: String) throws(BPFError) {
        for name in DirectorMaps.names {
            // A larger table that is not published yet will be the table.
            let next = DirectorMaps.nextPin(name, below: directory)
            let path = access(next, F_OK) == 0 ? next : "\(directory)/\(name)"
            guard let pinned = try BPFDescriptor(pinnedAt: path) else {
                // A daemon may have been killed in the moment in which it is made anew; only the packet program needs it.
                // An older data plane has no strays.
                if name == "former" || name == "strays" { continue }
                throw BPFError("open map \(name) below \(directory)", code: ENOENT)
            }
            try reuse(descriptor: pinned.number, forMap: name)
        }
    }
}
