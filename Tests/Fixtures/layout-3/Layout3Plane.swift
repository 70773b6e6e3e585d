public import BPF
internal import Glibc
internal import PacketPrograms
internal import SystemCalls

/// A data plane of layout 3: the packet programs of commit 77b5f52 over maps with the rows that they know.
///
/// It takes the place of one of today's. Services, real servers, next hops and slots have the same bytes in both
/// layouts, so that today's program writes them. Listeners, counters and settings are written here.
public final class Layout3Plane {
    /// The id of a listener in the flow keys, by the listener's key as a word.
    public let flowIDs: [UInt64: UInt16]
    private let object: BPFObject
    private let constants: Constants
    private let directory: String

    /// The names of the maps that today's programs use with the same rows. They are the names of the pins, too.
    public static let sharedMaps = [
        "settings", "schedules", "slots", "servers", "loads", "paths", "statistics", "carried", "flows", "former",
        "overflows", "pressure", "templates", "fragments", "learnt_ports", "answered_ports", "egress",
    ]
    /// Listeners, the same as an array, and counters.
    public static let ownMaps = ["services", "listeners", "counters"]
    private static let programs = ["director", "tick"]

    /// Replaces what is pinned below `directory`: a data plane of today's, through which no packet passes and whose flows
    /// are forgotten. The interfaces on which it is get the programs of layout 3. `chosen`: the ids of these listeners;
    /// all others get the lowest that are left.
    public init(
        replacing directory: String, answersByRedirect: Bool = false, flowIDs chosen: [UInt64: UInt16] = [:]
    ) throws(BPFError) {
        self.directory = directory
        object = try BPFObject(.layout3)
        let listeners: BPFMap<UInt64, UInt64> = try Self.map("services", below: directory)
        let cache: BPFMap<UInt32, CachedListeners> = try Self.map("listeners", below: directory)
        let flows: BPFMap<UInt32, ipvsd_bucket> = try Self.map("flows", below: directory)
        for name in Self.sharedMaps {
            let shared = try Self.descriptor(name, below: directory)
            try object.reuse(descriptor: shared.number, forMap: name)
        }
        try object.setMaxEntries(listeners.maxEntries, ofMap: "services")
        try object.setMaxEntries(cache.maxEntries, ofMap: "listeners")
        constants = Constants(
            bucketMask: UInt32(flows.maxEntries - 1), listenerShift: UInt32(64 - cache.maxEntries.trailingZeroBitCount),
            answerByRedirect: answersByRedirect ? 1 : 0)
        try object.setReadOnlyData(constants)
        try object.load()
        let rows = try listeners.entries()
        flowIDs = Self.ids(of: rows.filter { $0.value != 0 }.map(\.key), chosen: chosen)
        try writeListeners(rows)
        try Self.prepareShared(below: directory, flows: flows)
        try pin()
    }

    /// Replaces what is pinned below the directory once more, by the same programs and maps. The flows are forgotten.
    /// Those to come are hashed with another seed.
    public func replaceAgain() throws(BPFError) {
        try pin()
        try Self.prepareShared(below: directory, flows: map("flows"))
        let settings: BPFMap<UInt32, ipvsd_settings> = try map("settings")
        let memory = try settings.memory(writable: true)
        withExtendedLifetime(memory) { memory.field(\.seed).pointee = .random(in: .min ... .max) }
    }

    private init(_ object: BPFObject, constants: Constants, below directory: String, flowIDs: [UInt64: UInt16]) {
        self.object = object
        self.constants = constants
        self.directory = directory
        self.flowIDs = flowIDs
    }

    /// The packet program, `director`, or the one that tells the `tick`.
    public func program(named name: String = "director") throws(BPFError) -> BPFProgram {
        try object.program(named: name)
    }

    /// A map's rows. `name` is the one that it has in layout 3.
    public func map<Key, Value>(_ name: String) throws(BPFError) -> BPFMap<Key, Value> {
        try BPFMap(name: name, descriptor: object.descriptor(ofMap: name))
    }

    /// A listener's key as a word.
    public static func listenerKey(vip: UInt32, port: UInt16, transport: UInt8) -> UInt64 {
        UInt64(vip.bigEndian) | UInt64(port.bigEndian) << 32 | UInt64(transport) << 48
    }

    // MARK: Rows

    private static func ids(of keys: [UInt64], chosen: [UInt64: UInt16]) -> [UInt64: UInt16] {
        var ids = chosen
        var taken = Set(chosen.values)
        var next: UInt16 = 1
        for key in keys.sorted() where ids[key] == nil {
            while taken.contains(next) { next += 1 }
            taken.insert(next)
            ids[key] = next
        }
        return ids
    }

    /// Service, flow id and flags are words of 32, 16 and 16 bits. The row that names a VIP is 0.
    private func writeListeners(_ rows: [(key: UInt64, value: UInt64)]) throws(BPFError) {
        let listeners: BPFMap<UInt64, UInt64> = try map("services")
        let cache: BPFMap<UInt32, CachedListeners> = try map("listeners")
        let buckets = try cache.memory(writable: true)
        for (key, today) in rows {
            let value = today & 0xFFFF_0000_0000_FFFF | UInt64(flowIDs[key] ?? 0) << 32
            try listeners.update(value, for: key)
            let hash = key &* 0x9E37_79B9_7F4A_7C15
            let index = Int(hash >> UInt64(64 - buckets.count.trailingZeroBitCount))
            let words = buckets.pointer(index).assumingMemoryBound(to: UInt64.self)
            // Where the bucket is full, the map has the answer.
            guard let way = (0..<4).first(where: { words[2 * $0] == 0 }) else { continue }
            words[2 * way + 1] = value
            words[2 * way] = key
        }
    }

    /// Gives the settings version 3. Forgets the flows, whose keys are those of today's layout.
    private static func prepareShared(below directory: String, flows: BPFMap<UInt32, ipvsd_bucket>) throws(BPFError) {
        let flows = try flows.memory(writable: true)
        memset(flows.pointer(0), 0, flows.count * flows.stride)
        let counts = try (map("loads", below: directory) as BPFMap<UInt32, ipvsd_conn_counts>).memory(writable: true)
        memset(counts.pointer(0), 0, counts.count * counts.stride)
        let marks = try (map("overflows", below: directory) as BPFMap<UInt32, ipvsd_overflow>).memory(writable: true)
        memset(marks.pointer(0), 0, marks.count * marks.stride)
        let load = try (map("pressure", below: directory) as BPFMap<UInt32, ipvsd_table_load>).memory(writable: true)
        load[0] = ipvsd_table_load()
        let settings = try (map("settings", below: directory) as BPFMap<UInt32, ipvsd_settings>).memory(writable: true)
        settings.pointer(0).storeBytes(of: 3, as: UInt32.self)
    }

    // MARK: Pins

    private func pin() throws(BPFError) {
        let links = (File.list(directory) ?? []).filter { $0.hasPrefix("link-") }
        for name in File.list(directory) ?? [] where !links.contains(name) { unlink("\(directory)/\(name)") }
        for name in Self.sharedMaps + Self.ownMaps { try object.pin(map: name, at: "\(directory)/\(name)") }
        for name in Self.programs { try program(named: name).pin(at: "\(directory)/\(name)") }
        for name in links { try BPFLink(pinnedAt: "\(directory)/\(name)")?.update(to: program()) }
    }

    private static func descriptor(_ name: String, below directory: String) throws(BPFError) -> BPFDescriptor {
        guard let descriptor = try BPFDescriptor(pinnedAt: "\(directory)/\(name)") else {
            throw BPFError("open map \(name) below \(directory)", code: ENOENT)
        }
        return descriptor
    }

    private static func map<Key, Value>(_ name: String, below directory: String) throws(BPFError) -> BPFMap<Key, Value>
    {
        try BPFMap(name: name, descriptor: descriptor(name, below: directory))
    }
}

// MARK: Growth

extension Layout3Plane {
    /// Grows the flow table as layout 3 does, and ends before it moves a flow: all are in the map `former`. This one is not
    /// to be used any more.
    public func grown(flowBuckets: Int) throws(BPFError) -> Layout3Plane {
        let larger = try BPFObject(.layout3)
        for name in Self.sharedMaps + Self.ownMaps where !["flows", "former", "overflows"].contains(name) {
            let shared = try object.descriptor(ofMap: name)
            try larger.reuse(descriptor: shared.number, forMap: name)
        }
        let former = try object.descriptor(ofMap: "flows")
        try larger.reuse(descriptor: former.number, forMap: "former")
        try larger.setMaxEntries(flowBuckets, ofMap: "flows")
        try larger.setMaxEntries(flowBuckets / Int(IPVSD_OVERFLOW_BUCKETS), ofMap: "overflows")
        var constants = constants
        constants.formerMask = constants.bucketMask
        constants.bucketMask = UInt32(flowBuckets - 1)
        try larger.setReadOnlyData(constants)
        try larger.load()
        let settings: BPFMap<UInt32, ipvsd_settings> = try map("settings")
        let memory = try settings.memory(writable: true)
        withExtendedLifetime(memory) { memory.field(\.is_migrating).pointee = 1 }
        for name in ["former", "overflows"] + Self.programs { unlink("\(directory)/\(name)") }
        rename("\(directory)/flows", "\(directory)/former")
        for name in ["flows", "overflows"] { try larger.pin(map: name, at: "\(directory)/\(name)") }
        for name in Self.programs { try larger.program(named: name).pin(at: "\(directory)/\(name)") }
        return Layout3Plane(larger, constants: constants, below: directory, flowIDs: flowIDs)
    }
}

/// The constants of layout 3's programs.
private struct Constants: BitwiseCopyable {
    var bucketMask: UInt32
    var formerMask: UInt32 = 0
    var listenerShift: UInt32
    var answerByRedirect: UInt32
    var replyLimit: UInt32 = 1_000_000
    var jiffy: UInt32 = 4_000_000
    var severalIngress: UInt32 = 0
    var outerPrefix: UInt32 = 0
    var outerMask: UInt32 = 0
}

/// Keys and values of four listeners.
private struct CachedListeners: BitwiseCopyable {
    var words: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64)
}
