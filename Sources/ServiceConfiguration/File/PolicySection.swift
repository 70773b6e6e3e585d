internal import LoadBalancing

/// How a configuration file has a service take its real servers out and back.
enum PolicySection {
    static let keys = ["inhibit", "slow-start", "flap-damping", "quorum", "hysteresis", "sorry-server"]

    static func policy(_ section: YAMLSection, _ findings: inout Findings) -> ServicePolicy {
        var policy = ServicePolicy()
        policy.inhibits = section.flag("inhibit", &findings) ?? false
        policy.slowStart = duration("slow-start", section, &findings)
        policy.flapDamping = duration("flap-damping", section, &findings)
        policy.quorum = quorum(section, &findings)
        policy.sorryServer = section.value("sorry-server", &findings) { text throws(InvalidValue) in
            try AddressText.address(text)
        }
        return policy
    }

    /// What a service's other keys have against it.
    static func judge(
        _ policy: ServicePolicy, of service: VirtualService, _ section: YAMLSection, own: YAMLSection,
        apartFrom vips: Set<IPv4Address>, _ findings: inout Findings
    ) {
        // What the defaults say of all services is left to those that have shares.
        if policy.slowStart != nil, let item = own["slow-start"] {
            findings.attempt(item.described) { () throws(InvalidValue) in
                try PolicyText.slowStart(of: service.scheduler)
            }
        }
        if let sorry = policy.sorryServer, let item = section["sorry-server"] {
            findings.attempt(item.described) { () throws(InvalidValue) in
                try PolicyText.sorryServer(sorry, apartFrom: service.servers, vips: vips)
            }
        }
        if let item = section["quorum"] {
            findings.attempt(item.described) { () throws(InvalidValue) in
                try PolicyText.quorum(policy.quorum, of: service.servers)
            }
        }
    }

    /// A duration, or `off`, where the defaults say another one.
    private static func duration(_ key: String, _ section: YAMLSection, _ findings: inout Findings) -> Duration? {
        section.value(key, &findings) { text throws(InvalidValue) in try PolicyText.duration(text) } ?? nil
    }

    private static func quorum(_ section: YAMLSection, _ findings: inout Findings) -> Quorum.Rule {
        var rule = Quorum.Rule()
        if let value = section.number("quorum", in: PolicyText.quorums, problem: PolicyText.noQuorum, &findings) {
            rule.required = value
        }
        let hysteresis = section.value("hysteresis", &findings) { text throws(InvalidValue) in
            try PolicyText.hysteresis(text, quorum: rule.required)
        }
        if let hysteresis { rule.hysteresis = hysteresis }
        return rule
    }
}
