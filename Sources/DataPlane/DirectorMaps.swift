public import BPF
internal import Glibc
internal import PacketPrograms

/// The maps of the packet programs, pinned in one directory, with their array maps in memory.
///
/// What has types of the shared header stays inside this module: the optimizer finds their conformances nowhere else.
public final class DirectorMaps: Sendable {
    static let names = [
        "settings", "services", "listeners", "schedules", "slots", "servers", "loads", "paths", "statistics",
        "counters", "flows", "overflows", "learnt_ports", "answered_ports", "egress",
    ]

    let services: BPFMap<ipvsd_service_key, ipvsd_service_value>
    let statistics: BPFMap<UInt32, ipvsd_statistics>
    let counters: BPFMap<UInt32, ipvsd_counters>
    let learntPorts: BPFMap<ipvsd_port, UInt64>
    let answeredPorts: BPFMap<ipvsd_port, UInt64>
    let egress: BPFMap<UInt32, UInt32>
    let settings: MappedArray<ipvsd_settings>
    let listeners: ListenerTable
    let schedules: MappedArray<ipvsd_service>
    let slots: MappedArray<ipvsd_slots>
    let servers: MappedArray<ipvsd_server>
    let loads: MappedArray<ipvsd_load>
    let paths: MappedArray<ipvsd_path>
    let flows: MappedArray<ipvsd_bucket>

    /// Opens what is pinned below `directory`; nil where there is no data plane. Throws where it has another layout.
    public init?(directory: String, writable: Bool) throws(BPFError) {
        func pinned<Key, Value>(_ name: String, _: Key.Type, _: Value.Type) throws(BPFError) -> BPFMap<Key, Value> {
            guard let map = try BPFMap<Key, Value>(name: name, pinnedAt: "\(directory)/\(name)") else {
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
        counters = try pinned("counters", UInt32.self, ipvsd_counters.self)
        learntPorts = try pinned("learnt_ports", ipvsd_port.self, UInt64.self)
        answeredPorts = try pinned("answered_ports", ipvsd_port.self, UInt64.self)
        egress = try pinned("egress", UInt32.self, UInt32.self)
        listeners = ListenerTable(buckets: try array("listeners", ipvsd_listener_bucket.self))
        schedules = try array("schedules", ipvsd_service.self)
        slots = try array("slots", ipvsd_slots.self)
        servers = try array("servers", ipvsd_server.self)
        loads = try array("loads", ipvsd_load.self)
        paths = try array("paths", ipvsd_path.self)
        flows = try array("flows", ipvsd_bucket.self)
    }
}

extension BPFObject {
    /// Names every map's pin, so that `load()` creates and pins it, or uses the one that is there.
    func pinDirectorMaps(below directory: String) throws(BPFError) {
        for name in DirectorMaps.names {
            let path = "\(directory)/\(name)"
            // libbpf takes a pinned devmap for another one: the kernel adds BPF_F_RDONLY_PROG to its flags.
            if name == "egress", let pinned = try BPFDescriptor(pinnedAt: path) {
                try reuse(descriptor: pinned.number, forMap: name)
            } else {
                try setPinPath(path, ofMap: name)
            }
        }
    }
}
