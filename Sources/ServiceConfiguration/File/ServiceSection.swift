internal import LoadBalancing
internal import Yams

/// One of a configuration file's services.
struct ServiceSection {
    /// What `defaults` may say for all services.
    static let defaultKeys =
        [
            "scheduler", "sched-flags", "maglev-size", "persistence", "one-packet", "on-server-loss",
            "on-server-removal", "weight", "upper-threshold", "lower-threshold", "servers", "check", "checks", "via",
            NotifySection.key,
        ] + PolicySection.keys + PaceSection.keys
    static let keys = ["listeners"] + defaultKeys
    private static let serverKeys = ["address", "weight", "upper-threshold", "lower-threshold"]

    /// With the place of each.
    let listeners: [(address: ServiceAddress, place: String)]
    private let section: YAMLSection
    /// Without what it has from the defaults.
    private let own: YAMLSection
    private let pace: PaceSection
    private let isComplete: Bool

    init(_ own: YAMLSection, defaults: YAMLSection?, pace: PaceSection?, _ findings: inout Findings) {
        self.own = own
        // Of two ways to say the same the service's own counts.
        var apart = Set(PaceSection.keys)
        if own.has("check") || own.has("checks") { apart.formUnion(["check", "checks"]) }
        if own.has("scheduler") { apart.formUnion(["sched-flags", "maglev-size"]) }
        if own.has("upper-threshold") { apart.insert("lower-threshold") }
        if own.has("quorum") { apart.insert("hysteresis") }
        section = own.inheriting(from: defaults, apart: apart)
        self.pace = PaceSection(own, inheriting: pace, &findings)
        var listeners: [(ServiceAddress, String)] = []
        let items = section.list("listeners") ?? []
        if items.isEmpty { findings.add(own.place, "no listeners", accepted: "listeners: \(AddressText.services)") }
        for item in items {
            let address = item.value(&findings) { text throws(InvalidValue) in try AddressText.service(text) }
            if let address { listeners.append((address, item.described)) }
        }
        self.listeners = listeners
        isComplete = !items.isEmpty && listeners.count == items.count
    }

    var placeOfServers: String { section["servers"]?.place ?? section.place }

    /// Finds what is wrong with defaults that no service uses.
    static func validate(defaults: YAMLSection, _ findings: inout Findings) {
        _ = scheduler(defaults, &findings)
        let _: ServerLoss? = defaults.choice("on-server-loss", called: "way", &findings)
        let _: ServerRemoval? = defaults.choice("on-server-removal", called: "way", &findings)
        _ = weight(defaults, &findings)
        _ = thresholds(defaults, &findings)
        _ = persistence(defaults, &findings)
        _ = CheckSection.via(defaults, &findings)
        _ = NotifySection.script(defaults, &findings)
        _ = defaults.flag("one-packet", &findings)
        _ = PolicySection.policy(defaults, &findings)
    }

    func service(apartFrom vips: Set<IPv4Address>, _ findings: inout Findings) -> VirtualService? {
        let servers = servers(apartFrom: vips, &findings)
        let scheduler = Self.scheduler(section, &findings) ?? .wlc
        let isOnePacket = section.flag("one-packet", &findings) ?? false
        if isOnePacket, isComplete, let item = section["one-packet"],
            !listeners.contains(where: { $0.address.transport != .tcp })
        {
            findings.add(
                item.described, "no listener takes UDP", accepted: "with an address/udp or one without a port")
        }
        let size = section.value("maglev-size", &findings) { text throws(InvalidValue) in
            try AddressText.maglevSize(text, servers: servers.count)
        }
        let flags = flags(of: scheduler, &findings)
        let persistence = Self.persistence(section, &findings)
        let loss: ServerLoss? = section.choice("on-server-loss", called: "way", &findings)
        let removal: ServerRemoval? = section.choice("on-server-removal", called: "way", &findings)
        guard isComplete, let first = listeners.first else { return nil }
        return VirtualService(
            address: first.address, scheduler: scheduler, flags: flags, onServerLoss: loss ?? .keep,
            onServerRemoval: removal ?? .move, persistence: persistence, isOnePacket: isOnePacket,
            otherAddresses: listeners.dropFirst().map(\.address), maglevSize: size, servers: servers)
    }

    func checks(_ findings: inout Findings) -> ServiceChecks? {
        CheckSection.checks(section, pace: pace, listeners: listeners.map(\.address), &findings)
    }

    func notification(_ findings: inout Findings) -> NotificationScript? { NotifySection.script(section, &findings) }

    func policy(
        of service: VirtualService, apartFrom vips: Set<IPv4Address>, _ findings: inout Findings
    ) -> ServicePolicy {
        var policy = PolicySection.policy(section, &findings)
        PolicySection.judge(policy, of: service, section, own: own, apartFrom: vips, &findings)
        if !service.scheduler.hasShares { policy.slowStart = nil }
        return policy
    }

    // MARK: Scheduling

    private static func scheduler(_ section: YAMLSection, _ findings: inout Findings) -> Scheduler? {
        section.choice("scheduler", called: "scheduler", &findings)
    }

    private func flags(of scheduler: Scheduler, _ findings: inout Findings) -> Set<SchedulerFlag> {
        var flags: Set<SchedulerFlag> = []
        for item in section.list("sched-flags") ?? [] {
            let flag = item.value(&findings) { text throws(InvalidValue) in
                guard let flag = SchedulerFlag(rawValue: text) else {
                    throw InvalidValue("unknown scheduler flag", accepted: AddressText.choices(of: SchedulerFlag.self))
                }
                guard flag.scheduler == scheduler else {
                    throw InvalidValue(
                        "the scheduler is \(scheduler.rawValue)", accepted: "with \(flag.scheduler.rawValue) only")
                }
                return flag
            }
            if let flag { flags.insert(flag) }
        }
        return flags
    }

    /// `persistence: 5m`, or with a netmask `persistence: {timeout: 5m, netmask: 24}`.
    private static func persistence(_ section: YAMLSection, _ findings: inout Findings) -> Persistence? {
        guard let item = section["persistence"] else { return nil }
        if item.node.scalar != nil {
            return section.seconds("persistence", in: Persistence.timeouts, &findings)
                .map { Persistence(timeout: $0) }
        }
        guard let own = section.section("persistence", keys: ["timeout", "netmask"], &findings) else { return nil }
        let timeout =
            own.has("timeout")
            ? own.seconds("timeout", in: Persistence.timeouts, &findings) : Persistence.defaultTimeout
        let length = own.value("netmask", &findings) { text throws(InvalidValue) in
            try AddressText.prefixLength(text)
        }
        guard let timeout else { return nil }
        return Persistence(timeout: timeout, prefixLength: length ?? 32)
    }

    // MARK: Real servers

    private static func weight(_ section: YAMLSection, _ findings: inout Findings) -> UInt16? {
        section.number("weight", in: 0...65535, problem: "no weight", &findings).map(UInt16.init)
    }

    private static func thresholds(_ section: YAMLSection, _ findings: inout Findings) -> ConnectionThresholds? {
        guard let upper = section["upper-threshold"] else {
            if let lower = section["lower-threshold"] {
                findings.add(lower.described, "there is no upper threshold", accepted: "with upper-threshold only")
            }
            return nil
        }
        let lower = section.text("lower-threshold", &findings)
        return upper.value(&findings) { text throws(InvalidValue) in
            try AddressText.thresholds(upper: text, lower: lower)
        } ?? nil
    }

    private func servers(apartFrom vips: Set<IPv4Address>, _ findings: inout Findings) -> [RealServer] {
        guard let items = section.list("servers"), !items.isEmpty else {
            findings.add(
                section.place, "no servers", accepted: "servers: \(AddressText.servers), or address: and weight:")
            return []
        }
        let weight = Self.weight(section, &findings)
        let thresholds = Self.thresholds(section, &findings)
        var servers: [RealServer] = []
        var known: Set<IPv4Address> = []
        for item in items {
            guard let server = server(item, weight: weight, thresholds: thresholds, &findings) else { continue }
            if vips.contains(server.address) {
                findings.add(
                    item.described, "\(server.address) is a VIP", accepted: "the real servers' own addresses")
            }
            if known.insert(server.address).inserted {
                servers.append(server)
            } else {
                findings.add(item.described, "\(server.address) is given twice", accepted: "each real server once")
            }
        }
        return servers
    }

    private func server(
        _ item: YAMLItem, weight: UInt16?, thresholds: ConnectionThresholds?, _ findings: inout Findings
    ) -> RealServer? {
        if let scalar = item.node.scalar {
            let server = item.value(&findings) { text throws(InvalidValue) in
                try AddressText.server(text, defaults: thresholds)
            }
            guard var server else { return nil }
            if let weight, !scalar.string.contains("=") { server.weight = weight }
            return server
        }
        guard
            let own = YAMLSection(
                item.node, place: item.place, file: section.file, keys: Self.serverKeys, &findings)
        else { return nil }
        guard let address = own["address"] else {
            findings.add(item.place, "a real server without address", accepted: "address: A.B.C.D")
            return nil
        }
        let found = address.value(&findings) { text throws(InvalidValue) in try AddressText.address(text) }
        let ownWeight = Self.weight(own, &findings)
        let hasOwn = own.has("upper-threshold") || own.has("lower-threshold")
        let ownThresholds = hasOwn ? Self.thresholds(own, &findings) : thresholds
        return found.map { RealServer(address: $0, weight: ownWeight ?? weight ?? 1, thresholds: ownThresholds) }
    }
}
