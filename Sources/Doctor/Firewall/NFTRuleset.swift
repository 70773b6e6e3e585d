import Addresses
import HostState

/// The ruleset of nftables in JSON (libnftables-json(5)).
extension Firewall {
    /// Reads the output of `nft -j list ruleset`. Nil: the text is not a ruleset.
    public init?(nft text: String) {
        guard let entries = JSON(text)?["nftables"]?.array else { return nil }
        var chains: [(key: String, chain: Chain)] = []
        var places: [String: Int] = [:]
        for entry in entries {
            // The tables of IPv6, ARP and bridges see none of these packets.
            if let chain = entry["chain"], let key = Self.key(chain, "name") {
                places[key] = chains.count
                chains.append(
                    (
                        key,
                        Chain(
                            name: key, hook: chain["hook"]?.string.flatMap(Hook.init),
                            isNAT: chain["type"]?.string == "nat",
                            dropsByPolicy: chain["policy"]?.string == "drop")
                    ))
            }
            if let rule = entry["rule"], let key = Self.key(rule, "chain"), let place = places[key] {
                chains[place].chain.rules += Self.rules(
                    rule["expr"]?.array ?? [], table: String(key.prefix { $0 != "/" }))
            }
        }
        self.init(chains: chains)
    }

    /// Returns a chain's key, such as "inet filter/input". Nil: the family has no IPv4.
    private static func key(_ entry: JSON, _ name: String) -> String? {
        guard let family = entry["family"]?.string, ["ip", "inet", "netdev"].contains(family),
            let table = entry["table"]?.string, let chain = entry[name]?.string
        else { return nil }
        return "\(family) \(table)/\(chain)"
    }

    /// Reads a rule. A rule with a verdict map becomes several rules.
    private static func rules(_ statements: [JSON], table: String) -> [Rule] {
        var matches: [Match] = []
        var rules: [Rule] = []
        var texts: [String] = []
        for statement in statements {
            for (kind, body) in statement.members {
                switch kind {
                case "match":
                    matches.append(match(body))
                    texts.append(describe(body))
                case "vmap":
                    for element in body["data"]?["set"]?.array ?? [] {
                        guard let pair = element.array, pair.count == 2, let key = body["key"],
                            let verdict = pair[1].members.lazy.compactMap({ Self.verdict($0, $1, table) }).first
                        else { continue }
                        let condition = condition(left: key, right: pair[0])
                        let text = "\(describe(left: key)) vmap \(describe(value: pair[0]))"
                        rules.append(
                            Rule(
                                matches: matches + [Match(condition: condition)], verdict: verdict,
                                text: (texts + [text, "\(verdict)"]).joined(separator: " ")))
                    }
                    if body["data"]?["set"] == nil {
                        // The contents of a named map are unknown.
                        rules.append(
                            Rule(
                                matches: matches + [Match(condition: .unknown)], verdict: .accept, translates: true,
                                text: (texts + ["vmap of a named map"]).joined(separator: " ")))
                    }
                case "counter", "log", "comment", "mangle", "notrack", "meter", "set", "map": break
                case "xt":
                    // A match or a target of iptables-nft. Only these targets are understood.
                    guard let target = body["name"]?.string, ["DNAT", "REDIRECT"].contains(target) else {
                        matches.append(Match(condition: .unknown))
                        continue
                    }
                    rules.append(
                        Rule(
                            matches: matches, verdict: .accept, translates: true,
                            text: (texts + [target]).joined(separator: " ")))
                case "limit", "quota", "ct count", "connlimit": matches.append(Match(condition: .unknown))
                default:
                    guard let verdict = verdict(kind, body, table) else { continue }
                    rules.append(
                        Rule(
                            matches: matches, verdict: verdict, translates: ["dnat", "redirect"].contains(kind),
                            text: (texts + [kind]).joined(separator: " ")))
                }
            }
        }
        return rules
    }

    private static func verdict(_ kind: String, _ body: JSON, _ table: String) -> Verdict? {
        let target = body["target"]?.string.map { "\(table)/\($0)" }
        return switch kind {
        // A queued, translated or mirrored packet is not lost.
        case "accept", "queue", "dnat", "snat", "masquerade", "redirect", "tproxy", "fwd": .accept
        case "drop", "reject": .drop
        case "return": .return
        case "jump": target.map(Verdict.jump)
        case "goto": target.map(Verdict.goto)
        default: nil
        }
    }

    private static func match(_ body: JSON) -> Match {
        guard let left = body["left"], let right = body["right"] else { return Match(condition: .unknown) }
        switch body["op"]?.string {
        case "==", "in":
            return Match(condition: condition(left: left, right: right), transport: transport(left))
        case "!=":
            return Match(condition: condition(left: left, right: right), isNegated: true, transport: transport(left))
        default: return Match(condition: .unknown)
        }
    }

    private static func condition(left: JSON, right: JSON) -> Match.Condition {
        let values = right["set"]?.array ?? right.array ?? [right]
        if let meta = left["meta"]?["key"]?.string {
            switch meta {
            case "l4proto": return all(values.map(number)).map { .protocolNumber(Set($0)) } ?? .unknown
            case "iif", "iifname": return all(values.map(word)).map { .input(Set($0)) } ?? .unknown
            case "oif", "oifname": return all(values.map(word)).map { .output(Set($0)) } ?? .unknown
            default: return .unknown
            }
        }
        if left["ct"]?["key"]?.string == "state", left["ct"]?["dir"] == nil {
            return all(values.map(word)).map { .state(Set($0)) } ?? .unknown
        }
        guard let payload = left["payload"], let field = payload["field"]?.string else { return .unknown }
        switch (payload["protocol"]?.string, field) {
        case ("ip", "protocol"): return all(values.map(number)).map { .protocolNumber(Set($0)) } ?? .unknown
        case ("ip", "saddr"): return all(values.map(addresses)).map(Match.Condition.source) ?? .unknown
        case ("ip", "daddr"): return all(values.map(addresses)).map(Match.Condition.destination) ?? .unknown
        case ("tcp", "dport"), ("th", "dport"):
            return all(values.map(ports)).map(Match.Condition.destinationPort) ?? .unknown
        case ("udp", "dport"), ("sctp", "dport"):
            return all(values.map(ports)).map(Match.Condition.destinationPort) ?? .unknown
        case ("icmp", "type"): return all(values.map(icmpType)).map { .icmpType(Set($0)) } ?? .unknown
        default: return .unknown
        }
    }

    private static func icmpType(_ value: JSON) -> UInt8? {
        value.number.flatMap { UInt8(exactly: $0) } ?? value.string.flatMap(icmpType)
    }

    /// Returns the protocol whose header a match needs. Nil: the match needs none.
    private static func transport(_ left: JSON) -> UInt8? {
        guard let name = left["payload"]?["protocol"]?.string, !["ip", "ip6", "th", "ether"].contains(name) else {
            return nil
        }
        return protocolNumber(name)
    }

    /// Returns the values. Nil: one of the values is nil, so that the set is not wholly known.
    private static func all<Value>(_ values: [Value?]) -> [Value]? {
        let known = values.compactMap(\.self)
        return known.count == values.count ? known : nil
    }

    /// Returns a word. Nil for a named set ("@name"), whose contents are unknown.
    private static func word(_ value: JSON) -> String? { value.string.flatMap { $0.hasPrefix("@") ? nil : $0 } }

    private static func number(_ value: JSON) -> UInt8? {
        value.number.flatMap { UInt8(exactly: $0) } ?? value.string.flatMap(protocolNumber)
    }

    private static func ipv4(_ value: JSON) -> IPAddress? { value.string.flatMap(IPv4Address.init).map(IPAddress.v4) }

    private static func addresses(_ value: JSON) -> ClosedRange<IPAddress>? {
        if let address = ipv4(value) { return address...address }
        if let prefix = value["prefix"], let address = prefix["addr"].flatMap(ipv4),
            let length = prefix["len"]?.number
        {
            return range(address, length: length)
        }
        if let ends = value["range"]?.array?.compactMap(ipv4), ends.count == 2,
            ends[0] <= ends[1]
        {
            return ends[0]...ends[1]
        }
        return nil
    }

    private static func ports(_ value: JSON) -> ClosedRange<UInt16>? {
        if let port = value.number.flatMap({ UInt16(exactly: $0) }) { return port...port }
        if let ends = value["range"]?.array?.compactMap({ $0.number.flatMap { UInt16(exactly: $0) } }), ends.count == 2,
            ends[0] <= ends[1]
        {
            return ends[0]...ends[1]
        }
        return nil
    }

    // MARK: Text

    private static func describe(_ match: JSON) -> String {
        let comparison = match["op"]?.string == "!=" ? "!= " : ""
        return (match["left"].map { describe(left: $0) } ?? "?") + " \(comparison)"
            + (match["right"].map { describe(value: $0) } ?? "?")
    }

    private static func describe(left: JSON) -> String {
        if let payload = left["payload"], let field = payload["field"]?.string {
            return "\(payload["protocol"]?.string ?? "payload") \(field)"
        }
        return left.members.first.map { kind, body in [kind, body["key"]?.string ?? ""].joined(separator: " ") } ?? "?"
    }

    private static func describe(value: JSON) -> String {
        switch value {
        case .string(let text): return text
        case .number(let number): return "\(number)"
        case .bool(let flag): return "\(flag)"
        case .array(let values): return values.map { describe(value: $0) }.joined(separator: ",")
        case .null: return "null"
        case .object:
            if let values = value["set"]?.array {
                return "{ " + values.map { describe(value: $0) }.joined(separator: ", ") + " }"
            }
            if let prefix = value["prefix"] {
                return "\(prefix["addr"]?.string ?? "?")/\(prefix["len"]?.number ?? 0)"
            }
            if let ends = value["range"]?.array { return ends.map { describe(value: $0) }.joined(separator: "-") }
            return "…"
        }
    }
}
