internal import Addresses
internal import LoadBalancing

/// The parsers and tests of the values of a service's policy.
enum PolicyText {
    static let quorums = 1...999_999_999
    static let durations: ClosedRange<Duration> = .seconds(1) ... .seconds(3600)

    /// Parses a duration. Returns nil for "off".
    static func duration(_ text: String) throws(InvalidValue) -> Duration? {
        text == "off" ? nil : try DurationText.parse(text, in: durations)
    }

    /// Parses a hysteresis, which has to be less than the quorum, as in keepalived.
    static func hysteresis(_ text: String, quorum: Int) throws(InvalidValue) -> Int {
        try AddressText.number(text, in: 0...(quorum - 1), problem: "no hysteresis for a quorum of \(quorum)")
    }

    /// Parses `N` or `N/HYSTERESIS`.
    static func rule(_ text: String) throws(InvalidValue) -> Quorum.Rule {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        var rule = Quorum.Rule(
            required: try AddressText.number(parts[0], in: quorums, problem: "no sum of weights"))
        if parts.count > 1 { rule.hysteresis = try hysteresis(String(parts[1]), quorum: rule.required) }
        return rule
    }

    static func slowStart(of scheduler: Scheduler) throws(InvalidValue) {
        guard !scheduler.hasShares else { return }
        let schedulers = Scheduler.allCases.filter(\.hasShares).map(\.rawValue).joined(separator: ", ")
        throw InvalidValue("\(scheduler.rawValue) has no shares that could grow", accepted: "with \(schedulers)")
    }

    static func sorryServer(
        _ server: IPAddress, apartFrom servers: [RealServer], vips: Set<IPAddress>
    ) throws(InvalidValue) {
        if vips.contains(server) {
            throw InvalidValue("\(server) is a VIP", accepted: "the sorry server's own address")
        }
        if servers.contains(where: { $0.address == server }) {
            throw InvalidValue("\(server) is one of the real servers", accepted: "another server than these")
        }
    }

    /// Refuses a quorum that, with its hysteresis, is above the sum of the configured weights. Weights that checks may
    /// set later do not count.
    static func quorum(_ rule: Quorum.Rule, of servers: [RealServer]) throws(InvalidValue) {
        let sum = servers.reduce(0) { $0 + Int($1.weight) }
        guard rule.regainedAt > sum else { return }
        let hysteresis = rule.hysteresis > 0 ? " and its hysteresis, \(rule.hysteresis)," : ""
        throw InvalidValue(
            "the quorum, \(rule.required),\(hysteresis) can never be reached",
            accepted: "at most \(sum) in all, the sum of the real servers' weights")
    }
}
