internal import HealthChecks
internal import LoadBalancing
internal import Yams

/// The checks of one of a configuration file's services.
struct CheckSection {
    /// In a file "type: NAME".
    enum Kind: String, CaseIterable {
        case ping, mtu, tcp, tls, http, https, grpc, smtp, dns, udp, script, file

        /// What it knows beside the keys of every check.
        var keys: [String] {
            switch self {
            case .ping: []
            case .mtu: ["size"]
            case .tcp: ["port"]
            case .tls: ["port"] + TLSSection.keys
            case .http: HTTPSection.keys
            case .https: HTTPSection.keys + TLSSection.keys
            case .grpc: ["port", "service", "authority", "tls"] + TLSSection.keys
            case .smtp: ["port", "helo"]
            case .dns: ["port", "transport", "name", "record", "codes", "answers"]
            case .udp:
                ["port", "payload", "payload-hex", "reply", "reply-hex", "reply-begins", "reply-begins-hex", "silence"]
            case .script: ["command", "environment"]
            case .file: ["path"]
            }
        }
    }

    static let keys = ["type", "via"] + PaceSection.keys

    /// `check: auto`, or `checks:` with a list; nil after an error.
    static func checks(
        _ section: YAMLSection, pace: PaceSection, listeners: [ServiceAddress], _ findings: inout Findings
    ) -> ServiceChecks? {
        let via = via(section, &findings) ?? .tunnel
        guard let items = section.list("checks") else {
            return policy(section, pace: pace, listeners: listeners, &findings).map(ServiceChecks.policy)
        }
        if let other = section["check"] {
            findings.add(other.described, "there are checks, too", accepted: "check or checks")
        }
        var checks: [ServiceCheck] = []
        for item in items {
            guard
                let found = one(
                    item, file: section.file, pace: pace, via: via, listeners: listeners, &findings)
            else { continue }
            if checks.contains(where: { $0.check == found.check && $0.via == found.via }) {
                findings.add(item.place, "the same check twice", accepted: "each check once")
            }
            checks.append(found)
        }
        if items.isEmpty {
            findings.add(section["checks"]?.place ?? section.place, "an empty list", accepted: "check: none, or checks")
        }
        return checks.isEmpty ? nil : .listed(checks)
    }

    static func via(_ section: YAMLSection, _ findings: inout Findings) -> Check.Via? {
        section.choice("via", called: "way", &findings)
    }

    private static func policy(
        _ section: YAMLSection, pace: PaceSection, listeners: [ServiceAddress], _ findings: inout Findings
    ) -> CheckPolicy? {
        var kind = CheckPolicy.Kind.auto
        if section.has("check") {
            let found = section.value("check", &findings) { text throws(InvalidValue) in
                let kind = try CheckPolicy.Kind(parsing: text)
                if kind == .tcp(port: nil), let listener = listeners.first, listener.isAnyPort {
                    throw InvalidValue("the service \(listener) has no port to connect to", accepted: "tcp:PORT")
                }
                return kind
            }
            guard let found else { return nil }
            kind = found
        }
        return CheckPolicy(kind: kind, pace: pace.pace)
    }

    private static func one(
        _ item: YAMLItem, file: String, pace: PaceSection, via: Check.Via, listeners: [ServiceAddress],
        _ findings: inout Findings
    ) -> ServiceCheck? {
        let every = Kind.allCases.flatMap(\.keys).uniqued()
        let known = item.node.mapping?["type"]?.scalar.flatMap { Kind(rawValue: $0.string) }
        let section = YAMLSection(
            item.node, place: item.place, file: file, keys: keys + (known?.keys ?? every),
            problem: { key in
                known.flatMap { every.contains(key) ? "not of a check of type \($0.rawValue)" : nil }
            }, &findings)
        guard let section else { return nil }
        guard section.has("type") else {
            findings.add(item.place, "a check without type", accepted: "type: \(AddressText.choices(of: Kind.self))")
            return nil
        }
        guard let kind: Kind = section.choice("type", called: "type of check", &findings) else { return nil }
        let own = PaceSection(section, inheriting: pace, &findings)
        let ownVia = Self.via(section, &findings) ?? via
        let before = findings.errors.count
        let maker = CheckMaker(section: section, kind: kind, place: item.place, listeners: listeners)
        guard let check = maker.check(&findings), findings.errors.count == before else { return nil }
        if let problem = check.problem {
            findings.add(item.place, "\(problem)", accepted: "what the protocol can carry")
            return nil
        }
        return ServiceCheck(check, via: ownVia, pace: own.pace)
    }
}

extension [String] {
    /// Each once, where it is first.
    fileprivate func uniqued() -> [String] {
        var seen: Set<String> = []
        return filter { seen.insert($0).inserted }
    }
}
