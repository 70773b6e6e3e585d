public import Addresses
internal import CLibMNL
import Glibc

/// A routing rule (RTM_NEWRULE, `fib_rule_hdr`) that looks up a table.
public struct Rule: Sendable, Hashable, Codable, CustomStringConvertible {
    /// The priority. Rules are tried from the lowest priority on. The local table's rule has 0, and main's has 32766.
    public var priority: UInt32
    /// The network of the packet's source. Nil: any source.
    public var source: IPAddress?
    public var sourcePrefixLength: UInt8
    public var table: UInt32
    /// The rule's origin (RTPROT_*).
    public var protocolID: UInt8

    public init(
        priority: UInt32, source: IPAddress?, sourcePrefixLength: UInt8 = 32, table: UInt32, protocolID: UInt8
    ) {
        self.priority = priority
        self.source = source
        self.sourcePrefixLength = source == nil ? 0 : sourcePrefixLength
        self.table = table
        self.protocolID = protocolID
    }

    /// The rule as text, such as "19800: from 10.0.0.100/32 lookup 19800".
    public var description: String {
        "\(priority): from \(source.map { "\($0)/\(sourcePrefixLength)" } ?? "all") lookup \(table)"
    }

    /// Reads a message. Nil for other messages, for IPv6, and for rules with an action other than a look-up.
    init?(_ message: Message) {
        guard message.type == RTM_NEWRULE, let (header, attributes) = message.body(fib_rule_hdr.self),
            header.family == UInt8(AF_INET), header.action == UInt8(FR_ACT_TO_TBL)
        else { return nil }
        self.init(
            priority: attributes[FRA_PRIORITY]?.u32 ?? 0, source: attributes[FRA_SRC]?.address,
            sourcePrefixLength: header.src_len, table: attributes[FRA_TABLE]?.u32 ?? UInt32(header.table),
            protocolID: attributes[FRA_PROTOCOL]?.bytes.first ?? 0)
    }

    static func listRequest() -> MessageBuilder {
        var message = MessageBuilder(RTM_GETRULE)
        var header = fib_rule_hdr()
        header.family = UInt8(AF_INET)
        message.append(header)
        return message
    }

    var addRequest: MessageBuilder { request(MessageBuilder(RTM_NEWRULE, flags: NLM_F_CREATE | NLM_F_EXCL)) }
    var removeRequest: MessageBuilder { request(MessageBuilder(RTM_DELRULE)) }

    private func request(_ builder: MessageBuilder) -> MessageBuilder {
        var message = builder
        var header = fib_rule_hdr()
        header.family = source?.addressFamily ?? UInt8(AF_INET)
        header.src_len = sourcePrefixLength
        header.table = table < 256 ? UInt8(table) : 0
        header.action = UInt8(FR_ACT_TO_TBL)
        message.append(header)
        message.attribute(FRA_PRIORITY, priority)
        if let source { message.attribute(FRA_SRC, source) }
        message.attribute(FRA_TABLE, table)
        message.attribute(FRA_PROTOCOL, protocolID)
        return message
    }
}

extension RouteSocket {
    /// Returns the IPv4 rules.
    public func rules() throws(NetlinkError) -> [Rule] {
        try dump(Rule.listRequest(), "list rules").compactMap(Rule.init)
    }

    /// Adds a rule. Returns false if the rule was there already.
    @discardableResult
    public func addRule(_ rule: Rule) throws(NetlinkError) -> Bool {
        try change(rule.addRequest, unless: [EEXIST], "add rule \(rule)")
    }

    /// Removes a rule. Returns false if there is no such rule.
    @discardableResult
    public func removeRule(_ rule: Rule) throws(NetlinkError) -> Bool {
        try change(rule.removeRequest, unless: [ENOENT], "remove rule \(rule)")
    }
}
