import Addresses

/// The ruleset in the text of iptables-save(8).
extension Firewall {
    public init(iptables text: String) {
        var chains: [(key: String, chain: Chain)] = []
        var places: [String: Int] = [:]
        var table = ""
        for line in text.split(separator: "\n") {
            if line.hasPrefix("*") { table = String(line.dropFirst()) }
            if line.hasPrefix(":") {
                let words = line.dropFirst().split(separator: " ")
                guard words.count >= 2 else { continue }
                let key = "iptables \(table)/\(words[0])"
                places[key] = chains.count
                chains.append(
                    (
                        key,
                        Chain(
                            name: key, hook: Hook(rawValue: words[0].lowercased()), isNAT: table == "nat",
                            dropsByPolicy: words[1] == "DROP")
                    ))
            }
            if line.hasPrefix("-A ") {
                let words = Self.words(line)
                guard words.count > 1, let place = places["iptables \(table)/\(words[1])"] else { continue }
                chains[place].chain.rules.append(
                    Self.rule(Array(words.dropFirst(2)), table: table, text: String(line)))
            }
        }
        self.init(chains: chains)
    }

    /// Splits a line into words. A quoted comment is one word.
    private static func words(_ line: Substring) -> [String] {
        var words: [String] = []
        var word = ""
        var isQuoted = false
        for character in line {
            switch character {
            case "\"": isQuoted.toggle()
            case " " where !isQuoted:
                if !word.isEmpty { words.append(word) }
                word = ""
            default: word.append(character)
            }
        }
        if !word.isEmpty { words.append(word) }
        return words
    }

    private static let knownModules: Set<String> = ["tcp", "udp", "conntrack", "state", "comment", "multiport", "icmp"]

    private static func rule(_ words: [String], table: String, text: String) -> Rule {
        var rule = Rule(matches: [], verdict: nil, text: text)
        var isNegated = false
        var rest = words[...]
        func value() -> String { rest.popFirst() ?? "" }
        while let option = rest.popFirst() {
            if option == "!" {
                isNegated = true
                continue
            }
            var condition: Match.Condition?
            switch option {
            case "-p", "--protocol": condition = protocolNumber(value()).map { .protocolNumber([$0]) } ?? .unknown
            case "-i", "--in-interface": condition = .input([value()])
            case "-o", "--out-interface": condition = .output([value()])
            case "-s", "--source": condition = network(value()).map { .source([$0]) } ?? .unknown
            case "-d", "--destination": condition = network(value()).map { .destination([$0]) } ?? .unknown
            case "--dport", "--dports", "--destination-port": condition = ports(value())
            case "--icmp-type":
                condition = icmp(value())
            case "--ctstate", "--state":
                condition = .state(Set(value().split(separator: ",").map { $0.lowercased() }))
            case "-m", "--match": condition = knownModules.contains(value()) ? nil : .unknown
            case "--comment": _ = value()
            case "-j", "--jump":
                let target = value()
                rule.verdict = verdict(target, table: table)
                rule.translates = ["DNAT", "REDIRECT"].contains(target)
                // The other words are options of the target.
                rest = []
            case "-g", "--goto":
                rule.verdict = .goto("iptables \(table)/\(value())")
            default:
                // The option is unknown, and its values are skipped.
                if option.hasPrefix("-") { condition = .unknown }
            }
            if let condition { rule.matches.append(Match(condition: condition, isNegated: isNegated)) }
            if condition != nil { isNegated = false }
        }
        return rule
    }

    private static func verdict(_ target: String, table: String) -> Verdict? {
        switch target {
        case "ACCEPT", "DNAT", "SNAT", "MASQUERADE", "REDIRECT", "NFQUEUE", "TPROXY": .accept
        case "DROP", "REJECT": .drop
        case "RETURN": .return
        case "LOG", "NFLOG", "TCPMSS", "MARK", "CONNMARK", "CT", "NOTRACK", "TOS", "DSCP", "TTL", "SET", "TRACE",
            "CHECKSUM", "CLASSIFY", "AUDIT", "HL":
            nil
        default: .jump("iptables \(table)/\(target)")
        }
    }

    /// Reads a network such as "10.0.0.0/8", or an address.
    private static func network(_ text: String) -> ClosedRange<IPAddress>? {
        let parts = text.split(separator: "/")
        guard let address = parts.first.flatMap({ IPv4Address(String($0)) }).map(IPAddress.v4) else { return nil }
        guard parts.count > 1 else { return address...address }
        return Int(parts[1]).flatMap { range(address, length: $0) }
    }

    /// Reads a type such as "echo-request". Only the code of "fragmentation needed" ("3/4") is understood.
    private static func icmp(_ text: String) -> Match.Condition {
        let parts = text.split(separator: "/")
        if text == "fragmentation-needed" || text == "3/4" { return .icmpType([3]) }
        return parts.count == 1 ? icmpType(text).map { .icmpType([$0]) } ?? .unknown : .unknown
    }

    /// Reads ports such as "80", "80,443" and "8000:8999".
    private static func ports(_ text: String) -> Match.Condition {
        let ranges = text.split(separator: ",").map { part -> ClosedRange<UInt16>? in
            let ends = part.split(separator: ":", omittingEmptySubsequences: false)
            guard let low = ends.first.map({ $0.isEmpty ? 0 : UInt16($0) }) ?? nil,
                let high = ends.last.map({ $0.isEmpty ? UInt16.max : UInt16($0) }) ?? nil, low <= high
            else { return nil }
            return low...high
        }
        let known = ranges.compactMap(\.self)
        return known.count == ranges.count ? .destinationPort(known) : .unknown
    }
}
