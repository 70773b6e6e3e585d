import LoadBalancing

/// The director's command line as it was typed, and its way to a configuration.
public struct DirectorFlags: Sendable {
    /// Each value is one or more services, parted by commas.
    public var vips: [String]
    /// Each value is one or more real servers, parted by commas; every VIP has all of them.
    public var backends: [String]
    public var scheduler = "wlc"
    /// Each value is one or more of IPVS's scheduler flags, parted by commas.
    public var schedulerFlags: [String] = []
    /// For every real server that has none of its own.
    public var upperThreshold: String?
    public var lowerThreshold: String?
    public var maglevSize: String?
    public var onServerLoss = "keep"
    public var onServerRemoval = "move"
    public var oneService = false
    public var persistent: String?
    public var persistentNetmask: String?
    public var onePacket = false
    public var connections: String?
    public var tcpTimeout: String?
    public var tcpFinTimeout: String?
    public var udpTimeout: String?
    public var halfOpenLimit: String?
    /// Each value is one or more interfaces, parted by commas.
    public var interfaces: [String] = []
    public var xdp = "auto"
    public var check = "auto"
    public var checkInterval = "1s"
    public var checkFastInterval: String?
    public var checkTimeout = "0.7s"
    public var rise = "2"
    public var fall = "2"
    public var inhibit = false
    public var slowStart: String?
    public var flapDamping: String?
    /// A sum of weights, perhaps with a hysteresis behind a slash.
    public var quorum: String?
    public var sorryServer: String?
    public var noSYNWatch = false
    public var noAddress = false
    public var outerSourcePrefix: String?
    /// A program's absolute path.
    public var notify: String?
    public var notifyAtStart = false
    public var metricsListen: String?

    public init(vips: [String] = [], backends: [String] = []) {
        self.vips = vips
        self.backends = backends
    }

    /// Whether what they name is there is not asked, unless by `files`.
    public func configuration(files: NamedFiles = .unseen) throws(ConfigurationErrors) -> DirectorConfiguration {
        var findings = Findings(files: files)
        let addresses = services(&findings)
        let servers = servers(apartFrom: Set(addresses.map(\.vip)), &findings)
        let scheduler: Scheduler? = choice(scheduler, flag: "--scheduler", name: "scheduler", &findings)
        let flags = flags(of: scheduler, &findings)
        let maglevSize = value(maglevSize, flag: "--maglev-size", &findings) { text throws(InvalidValue) in
            try AddressText.maglevSize(text, servers: servers.count)
        }
        let onServerLoss: ServerLoss? = choice(onServerLoss, flag: "--on-server-loss", name: "way", &findings)
        let onServerRemoval: ServerRemoval? = choice(
            onServerRemoval, flag: "--on-server-removal", name: "way", &findings)
        let interfaces = interfaceNames(&findings)
        let outerSources = value(
            outerSourcePrefix, flag: "--outer-source-prefix", &findings, AddressText.outerSources)
        let xdp: XDPPreference? = choice(xdp, flag: "--xdp", name: "mode", &findings)
        let checks = checks(of: addresses, &findings)
        let persistence = persistence(&findings)
        if onePacket, !addresses.contains(where: { $0.transport != .tcp }) {
            findings.add("--one-packet", "no service takes UDP", accepted: "with an address/udp or one without a port")
        }
        let connections = number(
            connections, flag: "--connections", in: 1...ConnectionLimits.maximumConnections,
            problem: "no number of connections", &findings)
        let halfOpenLimit = number(
            halfOpenLimit, flag: "--half-open-limit", in: 0...Int(Int32.max), problem: "no number of connections",
            &findings)
        let timeouts = timeouts(&findings)
        let program = value(notify, flag: "--notify", &findings) { text throws(InvalidValue) in
            try files.program(try NotificationScript.program(text))
        }
        if notifyAtStart, notify == nil {
            findings.add("--notify-at-start", "no program is told", accepted: "with --notify")
        }
        let metricsListen = value(metricsListen, flag: "--metrics-listen", &findings, ListenAddress.init(parsing:))
        let policy = policy(scheduler, servers: servers, vips: Set(addresses.map(\.vip)), &findings)
        guard findings.errors.isEmpty, !addresses.isEmpty, let scheduler, let onServerLoss, let onServerRemoval,
            let xdp, let checks
        else {
            throw ConfigurationErrors(findings.errors)
        }
        let groups = oneService ? [addresses] : addresses.map { [$0] }
        var configuration = DirectorConfiguration(
            services: groups.map {
                VirtualService(
                    address: $0[0], scheduler: scheduler, flags: flags, onServerLoss: onServerLoss,
                    onServerRemoval: onServerRemoval, persistence: persistence, isOnePacket: onePacket,
                    otherAddresses: Array($0.dropFirst()), maglevSize: maglevSize, servers: servers)
            },
            interfaces: interfaces, xdp: xdp, checks: checks,
            policies: policy == ServicePolicy()
                ? [:] : Dictionary(uniqueKeysWithValues: groups.map { ($0[0], policy) }),
            watchesSYNs: !noSYNWatch,
            managesAddress: !noAddress, outerSources: outerSources,
            connections: connections ?? ConnectionLimits.defaultConnections,
            timeouts: timeouts, halfOpenLimit: halfOpenLimit, metricsListen: metricsListen)
        if let program {
            for service in configuration.services {
                configuration.notifications[service.address] = NotificationScript(
                    command: [program], tellsAtStart: notifyAtStart)
            }
        }
        findings.judgeSize(of: configuration) { _ in "--backends" }
        guard findings.errors.isEmpty else { throw ConfigurationErrors(findings.errors) }
        return configuration
    }
}
