public import Addresses
import HostState

/// nftables' rules that lower the MSS in SYN-ACKs from the VIPs: `nft list table ip ipvsd`. The director adds 20 bytes
/// to what clients send. The rules come after srcnat, so that answers of containers have the VIP as their source, too.
public struct SegmentRules: Sendable, Hashable {
    /// Lowers what is larger, and raises nothing (nft_exthdr.c).
    struct Limit: Sendable, Hashable {
        /// The segment sizes that routes allow (`rt mtu`, the MTU less 40) to which it applies; nil: any.
        var range: ClosedRange<Int>?
        var size: Int

        init(range: ClosedRange<Int>?, size: Int) {
            self.range = range
            self.size = size
        }

        /// For routes whose MTU is that, or less by up to 19, which leaves too little room as well.
        init?(mtu: UInt32) {
            let overhead = Int(MSSPolicy.overhead)
            guard mtu <= UInt16.max, mtu > 2 * overhead else { return nil }
            size = Int(mtu) - overhead
            range = size + 1...size + 20
        }
    }

    enum Presence: Sendable, Hashable {
        case none
        case rules(SegmentRules)
        /// A table of that name with other chains or sets in it.
        case foreign
    }

    static let table = "ipvsd"
    static let set = "vips"
    private static let hook = "postrouting"
    private static let lowering = "lower"
    /// One after srcnat.
    private static let priority = 101

    public internal(set) var vips: Set<IPAddress>
    var limits: Set<Limit>

    /// The rules that are in the kernel; nil where there are none.
    public static func present() throws -> SegmentRules? {
        if case .rules(let rules) = try presence() { rules } else { nil }
    }

    static func presence() throws -> Presence { try NFTables.contents(of: table).map(presence) ?? .none }

    /// What is left of a table that somebody has changed limits nothing.
    static func presence(_ contents: [JSON]) -> Presence {
        var rules = SegmentRules(vips: [], limits: [])
        var isHooked = false
        var isEntered = false
        for entry in contents {
            if let set = entry["set"] {
                guard set["name"]?.string == Self.set else { return .foreign }
                rules.vips.formUnion((set["elem"]?.array ?? []).compactMap { $0.string.flatMap(IPAddress.init) })
            } else if let chain = entry["chain"], let name = chain["name"]?.string {
                guard [hook, lowering].contains(name) else { return .foreign }
                if name == hook { isHooked = chain["hook"]?.string == hook && chain["prio"]?.number == priority }
            } else if let rule = entry["rule"], let expressions = rule["expr"]?.array {
                if rule["chain"]?.string == hook {
                    isEntered = isEntered || expressions.contains { $0["jump"]?["target"]?.string == lowering }
                } else if let limit = limit(expressions) {
                    rules.limits.insert(limit)
                }
            }
        }
        if !isHooked || !isEntered { rules.limits = [] }
        return .rules(rules)
    }

    private static func limit(_ expressions: [JSON]) -> Limit? {
        guard let size = expressions.lazy.compactMap({ $0["mangle"]?["value"]?.number }).first else { return nil }
        guard let match = expressions.lazy.compactMap({ $0["match"] }).first else {
            return Limit(range: nil, size: size)
        }
        let ends = match["right"]?["range"]?.array?.compactMap(\.number) ?? []
        guard ends.count == 2, ends[0] <= ends[1], match["left"]?["rt"]?["key"]?.string == "mtu" else { return nil }
        return Limit(range: ends[0]...ends[1], size: size)
    }

    /// Whether nothing is missing. Limits for MTUs that no route has any more do no harm.
    func cover(_ other: SegmentRules) -> Bool {
        vips.isSuperset(of: other.vips) && limits.isSuperset(of: other.limits)
            && limits.filter { $0.range == nil } == other.limits.filter { $0.range == nil }
    }

    /// What becomes of the segment size that the VIP's answers tell by a route of that MTU.
    public func lowered(_ size: UInt32, from vip: IPAddress, mtu: UInt32) -> UInt32 {
        guard vips.contains(vip) else { return size }
        let allowed = Int(mtu) - 40
        let sizes = limits.filter { $0.range?.contains(allowed) ?? true }.map { UInt32($0.size) }
        return min(size, sizes.min() ?? size)
    }

    // MARK: In the kernel

    /// Replaces the table that is there, in one transaction.
    var commands: String {
        let elements = vips.sorted().map { "\($0)" }.joined(separator: ", ")
        let lines = limits.sorted { $0.size > $1.size }.map { limit in
            let range = limit.range.map { "rt mtu \($0.lowerBound)-\($0.upperBound) " } ?? ""
            return "\(range)tcp option maxseg size set \(limit.size)"
        }
        return """
            add table ip \(Self.table)
            delete table ip \(Self.table)
            table ip \(Self.table) {
                set \(Self.set) {
                    type ipv4_addr
                    elements = { \(elements) }
                }
                chain \(Self.hook) {
                    type filter hook postrouting priority \(Self.priority); policy accept;
                    ip saddr @\(Self.set) tcp flags & (fin | syn | rst | ack) == syn | ack jump \(Self.lowering)
                }
                chain \(Self.lowering) {
                    \(lines.joined(separator: "\n        "))
                }
            }
            """
    }

    /// What takes it back.
    var changes: [Change] {
        [.netfilterTable(name: Self.table)]
            + vips.sorted().map { .netfilterElement(table: Self.table, set: Self.set, address: $0) }
    }
}

/// A program that lowers the MSS where nftables cannot: known by its filter, whose handle is the VIP and whose priority
/// tells the size.
public struct SegmentProgram: Sendable, Hashable {
    public var vip: IPv4Address
    /// 0: the interface's MTU less 60.
    public var size: UInt32

    var priority: UInt32 { size == 0 ? Names.filterPriority : size }
}

/// What largest TCP segment a real server announces in its answers from a VIP. The director adds 20 bytes to what the
/// client sends, so a segment that fits the client's way may be too long for the tunnel.
public enum MSSPolicy: Sendable, Hashable {
    /// What fits with one more IPv4 header: the route's MTU less 60.
    case auto
    case off
    /// Bytes of TCP payload.
    case value(UInt32)

    /// Outer IPv4 header, inner IPv4 header, TCP header.
    static let overhead: UInt32 = 20 + 20 + 20
}
