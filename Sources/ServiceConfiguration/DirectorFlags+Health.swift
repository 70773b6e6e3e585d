internal import LoadBalancing

/// What is asked of real servers, and how they come and go.
extension DirectorFlags {
    func checks(of services: [ServiceAddress], _ findings: inout Findings) -> CheckPolicy? {
        let kind = value(check, flag: "--check", &findings) { text throws(InvalidValue) in
            let kind = try CheckPolicy.Kind(parsing: text)
            if kind == .tcp(port: nil), let service = services.first(where: \.isAnyPort) {
                throw InvalidValue("the service \(service) has no port to connect to", accepted: "tcp:PORT")
            }
            return kind
        }
        let interval = value(checkInterval, flag: "--check-interval", &findings) { text throws(InvalidValue) in
            try DurationText.parse(text)
        }
        let longest = interval ?? DurationText.accepted.upperBound
        let fastInterval = value(checkFastInterval, flag: "--check-fast-interval", &findings) {
            text throws(InvalidValue) in
            try CheckPace.duration(text, within: longest)
        }
        let timeout = value(checkTimeout, flag: "--check-timeout", &findings) { text throws(InvalidValue) in
            try CheckPace.duration(text, within: longest)
        }
        let rise = number(rise, flag: "--rise", in: 1...100, problem: "no number of checks", &findings)
        let fall = number(fall, flag: "--fall", in: 1...100, problem: "no number of checks", &findings)
        guard let kind, let interval, let timeout, let rise, let fall else { return nil }
        return CheckPolicy(
            kind: kind,
            pace: CheckPace(
                interval: interval, fastInterval: fastInterval, timeout: timeout, rise: rise, fall: fall))
    }

    func policy(
        _ scheduler: Scheduler?, servers: [RealServer], vips: Set<IPv4Address>, _ findings: inout Findings
    ) -> ServicePolicy {
        var policy = ServicePolicy(inhibits: inhibit)
        policy.slowStart =
            value(slowStart, flag: "--slow-start", &findings) { text throws(InvalidValue) in
                if let scheduler { try PolicyText.slowStart(of: scheduler) }
                return try PolicyText.duration(text)
            } ?? nil
        policy.flapDamping = value(flapDamping, flag: "--flap-damping", &findings, PolicyText.duration) ?? nil
        let rule = value(quorum, flag: "--quorum", &findings) { text throws(InvalidValue) in
            try PolicyText.rule(text, servers: servers)
        }
        if let rule { policy.quorum = rule }
        policy.sorryServer = value(sorryServer, flag: "--sorry-server", &findings) { text throws(InvalidValue) in
            let address = try AddressText.address(text)
            try PolicyText.sorryServer(address, apartFrom: servers, vips: vips)
            return address
        }
        return policy
    }
}
