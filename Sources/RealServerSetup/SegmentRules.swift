public import Addresses
import HostState

/// The rules of nftables that lower the MSS in SYN-ACKs from the VIPs, which `nft list table ip ipvsd` shows. They make
/// room for the 20 bytes that the director adds to clients' packets. The rules come after srcnat, where answers of
/// containers have the VIP as their source, too.
public struct SegmentRules: Sendable, Hashable {
    /// A rule that lowers an MSS above `size`, and never raises an MSS (nft_exthdr.c).
    struct Limit: Sendable, Hashable {
        /// The segment sizes of the routes to which the rule applies (`rt mtu`, the route's MTU less 40). Nil means all
        /// routes.
        var range: ClosedRange<Int>?
        var size: Int

        init(range: ClosedRange<Int>?, size: Int) {
            self.range = range
            self.size = size
        }

        /// Makes the limit for routes of this MTU, and of MTUs smaller by up to 19, whose segments do not fit the
        /// tunnel either. The result is nil if the MTU is out of range.
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
        /// A table of the same name with other chains or sets, which ipvsd did not make.
        case foreign
    }

    static let table = "ipvsd"
    static let set = "vips"
    private static let hook = "postrouting"
    private static let lowering = "lower"
    /// The chain's priority, which is the next after srcnat's 100.
    private static let priority = 101

    public internal(set) var vips: Set<IPAddress>
    var limits: Set<Limit>

    /// Returns ipvsd's rules in the kernel, or nil if there are none.
    public static func present() throws -> SegmentRules? {
        if case .rules(let rules) = try presence() { rules } else { nil }
    }

    static func presence() throws -> Presence { try NFTables.contents(of: table).map(presence) ?? .none }

    /// Reads the contents of the table. Rules of a damaged table count as without limits, so that they are replaced.
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

    /// Whether these rules do at least what the others do. Limits for MTUs that no route has any more do no harm.
    func cover(_ other: SegmentRules) -> Bool {
        vips.isSuperset(of: other.vips) && limits.isSuperset(of: other.limits)
            && limits.filter { $0.range == nil } == other.limits.filter { $0.range == nil }
    }

    /// Returns the MSS after the rules in an answer of `vip` that announces `size`. The answer leaves by a route of
    /// this MTU.
    public func lowered(_ size: UInt32, from vip: IPAddress, mtu: UInt32) -> UInt32 {
        guard vips.contains(vip) else { return size }
        let allowed = Int(mtu) - 40
        let sizes = limits.filter { $0.range?.contains(allowed) ?? true }.map { UInt32($0.size) }
        return min(size, sizes.min() ?? size)
    }

    // MARK: The kernel

    /// The commands of nft(8) that replace the table by these rules in one transaction.
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

    /// The changes that `commands` make, for the journal.
    var changes: [Change] {
        [.netfilterTable(name: Self.table)]
            + vips.sorted().map { .netfilterElement(table: Self.table, set: Self.set, address: $0) }
    }
}

/// A program that lowers the MSS where nftables cannot. A tc filter identifies its program: the handle is the VIP in
/// host byte order, and the priority stands for the size.
public struct SegmentProgram: Sendable, Hashable {
    public var vip: IPv4Address
    /// The MSS in bytes. 0 means the interface's MTU less 60.
    public var size: UInt32

    var priority: UInt32 { size == 0 ? Names.filterPriority : size }
}

/// The rule for the MSS that a real server announces in its answers from a VIP. The director adds 20 bytes to the client's
/// packets, so a segment that fits the client's way may be too long for the tunnel.
public enum MSSPolicy: Sendable, Hashable {
    /// An MSS that leaves room for one more IPv4 header: the route's MTU less 60.
    case auto
    case off
    /// A number of bytes of TCP payload.
    case value(UInt32)

    /// The bytes of the outer IPv4 header, the inner IPv4 header and the TCP header.
    static let overhead: UInt32 = 20 + 20 + 20
}
