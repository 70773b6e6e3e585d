internal import ServiceConfiguration

/// The parser of a line of ipvsadm by the rules of popt(3). Short options can be joined, as in `-At 10.0.0.100:80`.
/// Long options have their value behind a space or "=".
struct RuleParser {
    private enum Option {
        case command(Rule.Command)
        case flag(@Sendable (inout Rule) -> Void)
        case value(@Sendable (inout Rule, String) -> Void)
        case optionalValue(@Sendable (inout Rule, String) -> Void)
    }

    private static let long: [String: Option] = [
        "add-service": .command(.addService), "edit-service": .command(.editService),
        "delete-service": .command(.deleteService), "clear": .command(.clear), "add-server": .command(.addServer),
        "edit-server": .command(.editServer), "delete-server": .command(.deleteServer), "zero": .command(.zero),
        "set": .command(.setTimeouts), "start-daemon": .command(.startDaemon), "stop-daemon": .command(.stopDaemon),
        "tcp-service": .value { $0.service = .tcp($1) }, "udp-service": .value { $0.service = .udp($1) },
        "sctp-service": .value { $0.service = .sctp($1) }, "fwmark-service": .value { $0.service = .mark($1) },
        "ipv6": .flag { $0.isIPv6 = true }, "scheduler": .value { $0.scheduler = $1 },
        "persistent": .optionalValue { $0.persistence = $1 }, "netmask": .value { $0.netmask = $1 },
        "pe": .value { $0.engine = $1 }, "sched-flags": .value { $0.flags = $1 },
        "ops": .flag { $0.isOnePacket = true }, "real-server": .value { $0.server = $1 },
        "gatewaying": .flag { $0.forward(.gatewaying) }, "ipip": .flag { $0.forward(.tunnel) },
        "masquerading": .flag { $0.forward(.masquerading) }, "tun-type": .value { $0.tunnel = $1 },
        "tun-port": .value { _, _ in }, "tun-nocsum": .flag { _ in }, "tun-csum": .flag { _ in },
        "tun-remcsum": .flag { _ in }, "weight": .value { $0.weight = $1 }, "u-threshold": .value { $0.upper = $1 },
        "l-threshold": .value { $0.lower = $1 }, "numeric": .flag { _ in },
        "mcast-interface": .value { _, _ in }, "syncid": .value { _, _ in }, "sync-maxlen": .value { _, _ in },
        "mcast-group": .value { _, _ in }, "mcast-port": .value { _, _ in }, "mcast-ttl": .value { _, _ in },
    ]
    private static let short: [Character: String] = [
        "A": "add-service", "E": "edit-service", "D": "delete-service", "C": "clear", "a": "add-server",
        "e": "edit-server", "d": "delete-server", "Z": "zero", "t": "tcp-service", "u": "udp-service",
        "f": "fwmark-service", "6": "ipv6", "s": "scheduler", "p": "persistent", "M": "netmask", "b": "sched-flags",
        "o": "ops", "r": "real-server", "g": "gatewaying", "i": "ipip", "m": "masquerading", "w": "weight",
        "x": "u-threshold", "y": "l-threshold", "n": "numeric",
    ]
    static let commands =
        "-A, -E, -D, -C, -a, -e, -d, -Z, --set, --start-daemon or --stop-daemon, as 'ipvsadm -R' takes them"

    private let place: SourcePlace
    private var words: ArraySlice<String>
    private var rule: Rule?

    private init(place: SourcePlace, words: ArraySlice<String>) {
        self.place = place
        self.words = words
    }

    /// Parses a line, which may begin with "ipvsadm". Returns nil for an empty line or a comment.
    static func rule(_ line: some StringProtocol, place: SourcePlace) throws(InvalidValue) -> Rule? {
        var words: [String] = []
        // Only ASCII white space separates words in ipvsadm.
        for word in line.unicodeScalars.split(whereSeparator: ASCIIText.isSpace) {
            if word.first == "#" { break }
            words.append(String(String.UnicodeScalarView(word)))
        }
        if words.first?.split(separator: "/").last == "ipvsadm" { words.removeFirst() }
        guard !words.isEmpty else { return nil }
        var parser = RuleParser(place: place, words: words[...])
        return try parser.parse()
    }

    private mutating func parse() throws(InvalidValue) -> Rule {
        while let word = words.popFirst() {
            if word.hasPrefix("--") {
                try parseLong(word.dropFirst(2))
            } else if word.hasPrefix("-"), word.count > 1 {
                try parseShort(word.dropFirst())
            } else {
                try parseBare(word)
            }
        }
        guard let rule else { throw InvalidValue("no command", accepted: Self.commands) }
        return rule
    }

    private mutating func parseLong(_ text: Substring) throws(InvalidValue) {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let name = String(parts.first ?? "")
        guard let option = Self.long[name] else { throw unknown("--\(name)") }
        try apply(option, called: "--\(name)", attached: parts.count > 1 ? String(parts[1]) : nil)
    }

    private mutating func parseShort(_ text: Substring) throws(InvalidValue) {
        var rest = text
        while let letter = rest.popFirst() {
            guard let name = Self.short[letter], let option = Self.long[name] else { throw unknown("-\(letter)") }
            switch option {
            case .value, .optionalValue:
                let attached = rest.hasPrefix("=") ? rest.dropFirst() : rest
                return try apply(option, called: "-\(letter)", attached: rest.isEmpty ? nil : String(attached))
            case .command, .flag: try apply(option, called: "-\(letter)", attached: nil)
            }
        }
    }

    private func unknown(_ option: String) -> InvalidValue {
        switch option {
        case "-L", "-l", "--list", "-S", "--save", "-R", "--restore", "-h", "--help":
            InvalidValue("\(option) is no rule", accepted: Self.commands)
        default: InvalidValue("unknown option \(option)", accepted: "what 'ipvsadm -S -n' prints")
        }
    }

    private mutating func apply(_ option: Option, called name: String, attached: String?) throws(InvalidValue) {
        if case .command(let command) = option {
            guard rule == nil else { throw InvalidValue("\(name): a second command", accepted: "one a line") }
            rule = Rule(place: place, command: command)
            guard command == .startDaemon || command == .stopDaemon else { return }
            let state = try value(of: name, attached)
            rule?.arguments = [state]
            return
        }
        guard var changed = rule else {
            throw InvalidValue("\(name) before the command", accepted: Self.commands)
        }
        switch option {
        case .command: break
        case .flag(let body):
            guard attached == nil else { throw InvalidValue("\(name) takes no value", accepted: name) }
            body(&changed)
        case .value(let body): body(&changed, try value(of: name, attached))
        case .optionalValue(let body):
            let next = words.first.map { !$0.hasPrefix("-") && $0.allSatisfy(\.isASCIIDigit) } ?? false
            body(&changed, attached ?? (next ? words.popFirst() : nil) ?? "")
        }
        rule = changed
    }

    private mutating func value(of name: String, _ attached: String?) throws(InvalidValue) -> String {
        guard let value = attached ?? words.popFirst(), !value.isEmpty else {
            throw InvalidValue("\(name) without its value", accepted: "\(name) VALUE")
        }
        return value
    }

    /// Parses a word that begins without a hyphen: a number of `--set`, or `pe NAME` and `ops` as ipvsadm up to 1.27
    /// printed them.
    private mutating func parseBare(_ word: String) throws(InvalidValue) {
        if rule?.command == .setTimeouts, rule.map({ $0.arguments.count < 3 }) == true {
            rule?.arguments.append(word)
        } else if word == "ops", rule != nil {
            rule?.isOnePacket = true
        } else if word == "pe", rule != nil {
            let engine = try value(of: word, nil)
            rule?.engine = engine
        } else {
            throw InvalidValue(
                "unexpected \(AddressText.quoted(word))", accepted: rule == nil ? Self.commands : "an option")
        }
    }
}

extension Rule {
    fileprivate mutating func forward(_ way: Forwarding) {
        forwarding = way
        hasForwarding = true
    }
}

extension Character {
    fileprivate var isASCIIDigit: Bool { isASCII && isNumber }
}

/// A command of `ipvsadm -S` and `ipvsadm -R`, with the texts of its values.
struct Rule {
    enum Command: String, CaseIterable {
        case addService = "A"
        case editService = "E"
        case deleteService = "D"
        case clear = "C"
        case addServer = "a"
        case editServer = "e"
        case deleteServer = "d"
        case zero = "Z"
        case setTimeouts = "set"
        case startDaemon = "start-daemon"
        case stopDaemon = "stop-daemon"
    }

    enum Service: Hashable {
        /// The service's address, as `A.B.C.D` or `A.B.C.D:PORT`. Both parts may be names.
        case tcp(String)
        case udp(String)
        case sctp(String)
        case mark(String)
    }

    enum Forwarding: String {
        case gatewaying = "-g"
        case tunnel = "-i"
        case masquerading = "-m"
    }

    let place: SourcePlace
    let command: Command
    /// The state of --start-daemon and --stop-daemon, or the three numbers of --set.
    var arguments: [String] = []
    var service: Service?
    var isIPv6 = false
    var scheduler: String?
    /// The time-out of persistence in seconds. It is empty for `-p` without a number, and nil without `-p`.
    var persistence: String?
    var netmask: String?
    var engine: String?
    var flags: String?
    var isOnePacket = false
    var server: String?
    /// The way to the real server. The default is ipvsadm's.
    var forwarding = Forwarding.gatewaying
    var hasForwarding = false
    var tunnel: String?
    var weight: String?
    var upper: String?
    var lower: String?
}
