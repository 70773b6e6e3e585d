public import Addresses
import HostState

/// The rules of a packet filter, as far as one packet's fate depends on them. A match that is not understood is
/// unknown: it neither drops nor accepts for certain. The doctor names only certain drops.
public struct Firewall: Sendable {
    public enum Hook: String, Sendable { case prerouting, input, forward, output, postrouting, ingress, egress }

    public struct Chain: Sendable {
        public var name: String
        /// The hook. Nil: only a jump reaches the chain.
        public var hook: Hook?
        /// Whether the chain is of type nat, so that its rules may give packets another destination.
        public var isNAT = false
        public var dropsByPolicy = false
        public var rules: [Rule] = []
    }

    public struct Rule: Sendable {
        public var matches: [Match]
        public var verdict: Verdict?
        /// Whether the rule gives the packet another destination (DNAT, REDIRECT).
        public var translates = false
        /// The rule as text, by which the operator finds it.
        public var text: String
    }

    public enum Verdict: Sendable, Hashable {
        case accept, drop, `return`
        case jump(String)
        case goto(String)
    }

    /// A condition of a rule, or its opposite with `isNegated`.
    public struct Match: Sendable {
        public enum Condition: Sendable {
            case protocolNumber(Set<UInt8>)
            case input(Set<String>)
            case output(Set<String>)
            case source([ClosedRange<IPAddress>])
            case destination([ClosedRange<IPAddress>])
            case destinationPort([ClosedRange<UInt16>])
            case icmpType(Set<UInt8>)
            case state(Set<String>)
            case unknown
        }
        public var condition: Condition
        public var isNegated = false
        /// The protocol that a packet must have to match, also if the condition is negated. Nil: any.
        public var transport: UInt8?
    }

    /// A packet. A nil value is unknown, or stands for any value.
    public struct Packet: Sendable {
        public var protocolNumber: UInt8
        public var input: String?
        public var output: String?
        public var source: IPAddress?
        public var destination: IPAddress?
        public var destinationPort: UInt16?
        public var icmpType: UInt8?
        /// The state in conntrack.
        public var state: String
    }

    /// The chains by their keys, which consist of the names of table and chain, such as "inet filter/input".
    public var chains: [String: Chain]
    /// The keys of the base chains in their order.
    public var baseChains: [String]

    public init(chains: [(key: String, chain: Chain)] = []) {
        self.chains = Dictionary(chains.map { ($0.key, $0.chain) }, uniquingKeysWith: { $1 })
        baseChains = chains.filter { $0.chain.hook != nil }.map(\.key)
    }

    /// Returns the rule or policy that certainly drops the packet at one of these hooks. Nil: there is none.
    public func drop(of packet: Packet, at hooks: [Hook]) -> Drop? {
        for key in baseChains {
            guard let chain = chains[key], let hook = chain.hook, hooks.contains(hook) else { continue }
            var isSure = true
            switch verdict(of: packet, in: key, depth: 0, &isSure) {
            case .dropped(let drop): return drop
            case .accepted: continue
            case nil: if chain.dropsByPolicy && isSure { return Drop(text: "policy drop of chain \(key)", rule: nil) }
            }
        }
        return nil
    }

    public struct Drop: Sendable {
        /// The rule or policy as text.
        public var text: String
        /// The rule. Nil: the chain's policy.
        public var rule: Rule?

        /// The chain in the form of nft(8), such as "inet filter input".
        var chain: String {
            let policy = "policy drop of chain "
            let key = text.hasPrefix(policy) ? text.dropFirst(policy.count) : text.prefix { $0 != ":" }
            return key.split(separator: "/").joined(separator: " ")
        }

        /// Returns the command that accepts packets before this drop, given the match in the words of nft(8) and of
        /// iptables(8).
        func accept(_ nft: String, iptables: String) -> String {
            let words = chain.split(separator: " ")
            return words.first == "iptables" && words.count == 3
                ? "iptables -t \(words[1]) -I \(words[2]) \(iptables) -j ACCEPT"
                : "nft insert rule \(chain) \(nft) accept"
        }

        /// Returns the command that accepts packets from the device before this drop.
        func accept(from device: String) -> String { accept("iifname \(device)", iptables: "-i \(device)") }

        /// Whether the rule depends on the state in conntrack.
        var isByState: Bool {
            rule?.matches.contains { if case .state = $0.condition { true } else { false } } ?? false
        }
    }

    /// Returns a rule of a nat chain at prerouting that may give the packet another destination. Nil: certainly none
    /// does.
    public func translation(of packet: Packet) -> String? {
        baseChains.lazy.filter { chains[$0]?.hook == .prerouting && chains[$0]?.isNAT == true }
            .compactMap { translation(of: packet, in: $0, depth: 0) }.first
    }

    private func translation(of packet: Packet, in key: String, depth: Int) -> String? {
        guard depth <= Self.maximumDepth, let chain = chains[key] else { return nil }
        for rule in chain.rules {
            let matches = rule.matches(packet)
            if matches == false { continue }
            if rule.translates { return "\(key): \(rule.text)" }
            switch rule.verdict {
            case .jump(let target), .goto(let target):
                if let text = translation(of: packet, in: target, depth: depth + 1) { return text }
            case .accept, .drop, .return: if matches == true { return nil }
            case nil: break
            }
        }
        return nil
    }

    private enum Outcome {
        case accepted
        case dropped(Drop)
    }

    /// The kernel's limit of nested jumps.
    private static let maximumDepth = 16

    /// Returns the outcome of a chain. Nil: the packet reaches its end. `isSure` becomes false at a rule that may
    /// match, and would then not drop the packet at once.
    private func verdict(of packet: Packet, in key: String, depth: Int, _ isSure: inout Bool) -> Outcome? {
        guard depth <= Self.maximumDepth, let chain = chains[key] else { return nil }
        for rule in chain.rules {
            guard let verdict = rule.verdict, let matches = rule.matches(packet) else {
                if rule.verdict != nil, rule.verdict != .drop { isSure = false }
                continue
            }
            guard matches else { continue }
            switch verdict {
            case .accept: return .accepted
            case .drop: return .dropped(Drop(text: "\(key): \(rule.text)", rule: rule))
            case .return: return nil
            case .jump(let target):
                if let outcome = self.verdict(of: packet, in: target, depth: depth + 1, &isSure) { return outcome }
            case .goto(let target): return self.verdict(of: packet, in: target, depth: depth + 1, &isSure)
            }
        }
        return nil
    }
}

extension Firewall.Rule {
    /// Whether the rule matches the packet. Nil: this is not certain.
    func matches(_ packet: Firewall.Packet) -> Bool? {
        var isSure = true
        for match in matches {
            switch match.holds(for: packet) {
            case false?: return false
            case nil: isSure = false
            case true?: break
            }
        }
        return isSure ? true : nil
    }
}

extension Firewall.Match {
    func holds(for packet: Firewall.Packet) -> Bool? {
        if let transport, transport != packet.protocolNumber { return false }
        let holds: Bool? =
            switch condition {
            case .protocolNumber(let numbers): numbers.contains(packet.protocolNumber)
            case .input(let names): Self.name(packet.input, isIn: names)
            case .output(let names): Self.name(packet.output, isIn: names)
            case .source(let ranges): packet.source.map { address in ranges.contains { $0.contains(address) } }
            case .destination(let ranges):
                packet.destination.map { address in ranges.contains { $0.contains(address) } }
            case .destinationPort(let ranges):
                packet.destinationPort.map { port in ranges.contains { $0.contains(port) } }
            case .icmpType(let types): packet.icmpType.map(types.contains)
            case .state(let states): states.contains(packet.state)
            case .unknown: nil
            }
        return holds.map { $0 != isNegated }
    }

    /// Whether a pattern matches the name. Nil: the name is unknown. A pattern that ends in `*` (nft) or `+` (iptables)
    /// matches all names that begin so.
    private static func name(_ name: String?, isIn patterns: Set<String>) -> Bool? {
        guard let name else { return nil }
        return patterns.contains { pattern in
            pattern == name || (pattern.hasSuffix("*") || pattern.hasSuffix("+")) && name.hasPrefix(pattern.dropLast())
        }
    }
}

extension Firewall {
    /// Returns the number of a protocol that a rule gives by name (/etc/protocols) or number. Nil: the name is unknown.
    static func protocolNumber(_ name: String) -> UInt8? {
        switch name.lowercased() {
        case "ipencap", "ipip", "ipv4": 4
        case "tcp": 6
        case "udp": 17
        case "icmp": 1
        case "igmp": 2
        case "ipv6": 41
        case "gre": 47
        case "esp": 50
        case "ah": 51
        case "ipv6-icmp", "icmpv6": 58
        case "sctp": 132
        default: UInt8(name)
        }
    }

    /// Returns the number of an ICMP type that a rule gives by name (nft and iptables) or number. Nil: the name is
    /// unknown.
    static func icmpType(_ name: String) -> UInt8? {
        switch name.lowercased() {
        case "echo-reply", "pong": 0
        case "destination-unreachable": 3
        case "echo-request", "ping": 8
        case "time-exceeded", "ttl-exceeded": 11
        case "parameter-problem": 12
        default: UInt8(name)
        }
    }

    static func range(_ address: IPAddress, length: Int) -> ClosedRange<IPAddress>? {
        IPPrefix(around: address, length: length)?.addresses
    }
}

extension Firewall {
    /// Returns the packet filters of this network namespace. `unchecked` gets the reasons for filters that cannot be
    /// read.
    static func present(_ unchecked: Unchecked) -> [Firewall] {
        var firewalls: [Firewall] = []
        var isRead = false
        do {
            if let firewall = Firewall(nft: try Command.output("nft", ["-j", "list", "ruleset"])) {
                firewalls.append(firewall)
            } else {
                unchecked.add("the firewall: nft's output is not understood")
            }
            isRead = true
        } catch Command.Failure.missing(_) {
        } catch {
            unchecked.add("the firewall: \(error)")
            isRead = true
        }
        for name in ["iptables-save", "iptables-legacy-save"] {
            if let text = try? Command.output(name, []) { firewalls.append(Firewall(iptables: text)) }
        }
        if firewalls.isEmpty, !isRead {
            unchecked.add("the firewall: neither nft nor iptables-save is installed")
        }
        return firewalls
    }
}
