public import Addresses
package import HealthChecks
public import LoadBalancing

/// The options of a service. The file has them in `services`, and all but the listeners also in `defaults`.
extension Options {
    static let services: [any DeclaredOption] = [
        listeners, oneService, scheduler, schedulerFlags, maglevSize, persistenceMapping, persistent, persistentNetmask,
        onePacket, onServerLoss, onServerRemoval, serverAddress, weight, upperThreshold, lowerThreshold, servers, check,
        checkList, checkType, via, notifyMapping, notify, notifyTimeout, notifyAtStart, inhibit, slowStart, flapDamping,
        quorum, hysteresis, sorryServer, checkInterval, checkFastInterval, checkTimeout, rise, fall,
    ]

    package static let serviceSettings: [Setting<VirtualService>] = [
        Setting(maglevSize, \.maglevSize, isReadByHand: true), Setting(onServerLoss, \.onServerLoss),
        Setting(onServerRemoval, \.onServerRemoval), Setting(onePacket, \.isOnePacket),
    ]

    package static let policySettings: [Setting<ServicePolicy>] = [
        Setting(inhibit, \.inhibits), Setting(slowStart, \.slowStart, isReadByHand: true),
        Setting(flapDamping, \.flapDamping), Setting(quorum, \.quorum),
    ]

    private static let each: [FileSection] = [.defaults, .service]
    private static let pace = CheckPace()

    // MARK: Listeners and real servers

    public static let listeners = DirectorOption(
        flag: .value(.services, "address", name: "vip", repeats: true), key: "listeners", in: [.service], list: true,
        .listener,
        help: OptionHelp(
            "A virtual IP: every port of it as A.B.C.D, one TCP port as A.B.C.D:PORT, one UDP port as A.B.C.D:PORT/udp.",
            key: "The service's virtual IPs. A.B.C.D is every port, A.B.C.D:PORT one TCP port, A.B.C.D:PORT/udp one "
                + "UDP port. All listeners of a service share its schedule and persistence.",
            term: "ipvsadm -A -t, -u; keepalived virtual_server"))

    public static let oneService = DirectorOption(
        flag: .presence(.services, "one-service"), .flag,
        help: OptionHelp(
            "All \(listeners.flagName) are one service: one schedule, one persistence. Without it each is a service of "
                + "its own."))

    public static let servers = DirectorOption(
        flag: .value(.services, "addresses", name: "backends", repeats: true), key: "servers", in: each, list: true,
        holds: .server,
        .realServer,
        help: OptionHelp(
            "The real servers. A.B.C.D=WEIGHT has a weight from 0 (no new connections) to 65535. "
                + "A.B.C.D=WEIGHT:UPPER[/LOWER] also has connection thresholds. An address of this machine makes it a real "
                + "server for VIPs with a port.",
            term: "ipvsadm -a -r; keepalived real_server"))

    static let serverAddress = DirectorOption(
        key: "address", in: [.server], .address, help: "The real server's address.")

    static let weight = DirectorOption(
        key: "weight", in: [.server] + each, .number(in: 0...65535, problem: "no weight"), standard: 1,
        help: OptionHelp(
            "The weight of real servers without one of their own. 0: no new connections.",
            term: "ipvsadm -w; keepalived weight"))

    public static let upperThreshold = DirectorOption(
        flag: .value(.services, "connections", name: "u-threshold", short: "x"), key: "upper-threshold",
        in: [.server] + each,
        .number(in: AddressText.thresholds) { "\(AddressText.quoted($0)) is no upper threshold" },
        help: OptionHelp(
            "The number of active and inactive connections at which a real server gets no new ones. 0: no limit. It holds "
                + "for real servers without a threshold of their own.",
            term: "ipvsadm -x; keepalived uthreshold"))

    public static let lowerThreshold = DirectorOption(
        flag: .value(.services, "connections", name: "l-threshold", short: "y"), key: "lower-threshold",
        in: [.server] + each,
        .number(in: AddressText.thresholds) { "\(AddressText.quoted($0)) is no lower threshold" },
        help: OptionHelp(
            "The number of connections below which a real server at its upper threshold gets new ones again. 0: three "
                + "quarters of the upper threshold.",
            standard: "0", term: "ipvsadm -y; keepalived lthreshold"))

    // MARK: Scheduling

    public static let scheduler = DirectorOption(
        "scheduler", flag: .value(.scheduling, "name"), in: each, .choice(called: "scheduler"), standard: Scheduler.wlc,
        help: OptionHelp("The scheduler. See above.", key: "The scheduler.", term: "ipvsadm -s; keepalived lb_algo"))

    public static let schedulerFlags = DirectorOption(
        "sched-flags", flag: .value(.scheduling, "flags", repeats: true), in: each, list: true,
        .choice(called: "scheduler flag") as ValueSyntax<SchedulerFlag>,
        help: OptionHelp(
            "Scheduler flags: \(AddressText.choices(of: SchedulerFlag.self)).",
            term: "ipvsadm -b; keepalived mh-port, mh-fallback, sh-port, sh-fallback"))

    public static let maglevSize = DirectorOption(
        "maglev-size", flag: .value(.scheduling, "prime"), in: each, .maglevSize,
        help: OptionHelp(
            "The number of slots of the Maglev table, a prime. It has to be the same on every director.",
            standard: "4093, or 100 slots for each real server", term: "IPVS: IP_VS_MH_TAB_INDEX"))

    package static let persistenceMapping = FileMapping(
        "persistence", in: each, holds: .persistence, shorthand: persistent,
        help: OptionHelp(
            "Persistence, as a time-out or as a mapping.", term: "ipvsadm -p; keepalived persistence_timeout"))

    public static let persistent = DirectorOption(
        flag: .value(.scheduling, "duration", name: "persistent"), key: "timeout", in: [.persistence],
        .seconds(in: Persistence.timeouts),
        help: OptionHelp(
            "Persistence: a client's new connections go to the real server of its last one, until this time after it.",
            standard: "no persistence", term: "ipvsadm -p; keepalived persistence_timeout"))

    public static let persistentNetmask = DirectorOption(
        flag: .value(.scheduling, "mask", name: "persistent-netmask"), key: "netmask", in: [.persistence],
        .prefixLength,
        standard: 32,
        help: OptionHelp(
            "The part of the address that clients share to be one for persistence, as 24 or 255.255.255.0.",
            term: "ipvsadm -M; keepalived persistence_granularity"))

    public static let onePacket = DirectorOption(
        "one-packet", flag: .presence(.scheduling), in: each, .flag,
        help: OptionHelp(
            "One-packet scheduling: every UDP datagram is scheduled by itself and none is recorded.",
            term: "ipvsadm -o; keepalived ops"))

    // MARK: Health checks

    public static let check = DirectorOption(
        "check", flag: .value(.checks, "kind"), in: each, .checkKind, standard: CheckPolicy().kind,
        help: """
            The health check: auto, tcp[:PORT], ping or none. Checks go through the tunnel to the VIP. auto is a connect to \
            the service's port, for a UDP port a ping, and for every port a ping and a connect to the ports that clients \
            use. Hosts may drop pings: real servers of a UDP port serve as unproven until one has answered, and do not \
            count toward the quorum.
            """)

    package static let checkList = FileMapping(
        "checks", in: each, list: true, holds: .check,
        help: "Health checks, in place of \(check.keyName). A real server is up while it passes all of them.")

    package static let checkType = DirectorOption(
        key: "type", in: [.check], .choice(called: "type of check") as ValueSyntax<CheckType>,
        help: "The type of the check.")

    package static let via = DirectorOption(
        key: "via", in: each + [.check], .choice(called: "way"), standard: Check.Via.tunnel,
        help: OptionHelp(
            "The route of checks: through the tunnel to the VIP, as clients' packets go; direct to the real server's own "
                + "address; or both, which names the broken one."))

    public static let checkInterval = DirectorOption(
        flag: .value(.checks, "duration", name: "check-interval"), key: "interval", in: each + [.check], .duration,
        standard: pace.interval,
        help: OptionHelp("The time from one check to the next.", term: "keepalived delay_loop"))

    public static let checkFastInterval = DirectorOption(
        flag: .value(.checks, "duration", name: "check-fast-interval"), key: "fast-interval", in: each + [.check],
        .duration,
        help: OptionHelp(
            "The interval while a verdict is near: after a first failure of a real server that is up, or a first success "
                + "of one that is down.",
            standard: "three tenths of the interval", term: "keepalived delay_before_retry"))

    public static let checkTimeout = DirectorOption(
        flag: .value(.checks, "duration", name: "check-timeout"), key: "timeout", in: each + [.check], .duration,
        standard: pace.timeout,
        help: OptionHelp(
            "The time-out of a check, at most the interval. A shorter interval shortens the default.",
            term: "keepalived connect_timeout"))

    public static let rise = DirectorOption(
        "rise", flag: .value(.checks, "n"), in: each + [.check], .checkCount, standard: pace.rise,
        help: "The number of successes in a row that bring a real server up.")

    public static let fall = DirectorOption(
        "fall", flag: .value(.checks, "n"), in: each + [.check], .checkCount, standard: pace.fall,
        help: OptionHelp(
            "The number of failures in a row that take a real server down.", term: "keepalived retry, plus 1"))

    // MARK: Failure and recovery

    public static let onServerLoss = DirectorOption(
        "on-server-loss", flag: .value(.recovery, "way"), in: each, .choice(called: "way"), standard: ServerLoss.keep,
        help: OptionHelp(
            "TCP connections of a real server that is down: keep them until it is back, reset their clients at once, or "
                + "rehash them to another real server.",
            term: "IPVS: expire_nodest_conn"))

    public static let onServerRemoval = DirectorOption(
        "on-server-removal", flag: .value(.recovery, "way"), in: each, .choice(called: "way"),
        standard: ServerRemoval.move,
        help: """
            Datagram flows of a real server that was removed: move them to other real servers at once, or let each finish \
            there within one \(udpTimeout.flagName). The same holds for a sorry server that is no longer needed, and at the \
            end of 'drain --timeout'.
            """)

    public static let inhibit = DirectorOption(
        "inhibit", flag: .presence(.recovery), in: each, .flag,
        help: OptionHelp(
            "A real server that is down gets weight 0 and keeps its connections, instead of being taken out.",
            term: "keepalived inhibit_on_failure"))

    public static let slowStart = DirectorOption(
        "slow-start", flag: .value(.recovery, "duration"), in: each, .durationOrOff,
        help: OptionHelp(
            "The time in which a real server that comes back gets its share of new connections, step by step.",
            standard: "off"))

    public static let flapDamping = DirectorOption(
        "flap-damping", flag: .value(.recovery, "duration"), in: each, .durationOrOff,
        help: OptionHelp(
            "Flap damping, as RFC 2439 has it: the half-life of the penalty of a real server that fails repeatedly. It is "
                + "held out for at most four half-lives, and never at the cost of the quorum.",
            standard: "off"))

    public static let quorum = DirectorOption(
        "quorum", flag: .value(.recovery, "weight[/hysteresis]"), in: each, .quorum, standard: Quorum.Rule(),
        help: OptionHelp(
            "The sum of usable real servers' weights that a service needs, and a hysteresis. The quorum is regained at "
                + "their sum and lost below their difference.",
            term: "keepalived quorum, hysteresis"))

    package static let hysteresis = DirectorOption(
        key: "hysteresis", in: each, .hysteresis,
        help: OptionHelp(
            "The quorum's hysteresis, less than the quorum.", standard: "0", term: "keepalived hysteresis"))

    public static let sorryServer = DirectorOption(
        "sorry-server", flag: .value(.recovery, "address"), in: each, .address,
        help: OptionHelp(
            "The sorry server: a real server that serves while the quorum is lost.", term: "keepalived sorry_server"))

    // MARK: Notification

    public static let notifyMapping = FileMapping(
        "notify", in: each, holds: .notify, shorthand: notify,
        help: OptionHelp(
            "The program that is run at events: a path, a list of a path and arguments, a mapping, or none.",
            standard: "none", term: "keepalived notify_up, notify_down, quorum_up, quorum_down"))

    public static let notify = DirectorOption(
        flag: .value(.events, "path", name: "notify"), key: "command", in: [.notify], list: true, .notifyCommand,
        help: OptionHelp(
            "The program to run at every event of a service or real server. IPVSD_EVENT, IPVSD_SERVICE, IPVSD_SERVER, "
                + "IPVSD_REASON and others are in its environment. It has "
                + "\(DurationText.format(NotificationScript.defaultTimeout)). See 'ipvsd events --help'.",
            key: "The program's absolute path, and its arguments."))

    package static let notifyTimeout = DirectorOption(
        key: "timeout", in: [.notify], .duration, standard: NotificationScript.defaultTimeout,
        help: "The time after which the program is killed, with its process group.")

    public static let notifyAtStart = DirectorOption(
        flag: .presence(.events, "notify-at-start"), key: "at-start", in: [.notify], .flag,
        help: """
            Run the program of \(notify.flagName) also for the state in which a service begins: at the daemon's start, \
            and after a reload that adds the service, once the first checks have ended. It runs for each real server that is \
            up or down, and for the quorum and the service where they are up, with IPVSD_AT_START=yes.
            """)
}

// MARK: Forms of values

extension ValueSyntax where Value == ServiceAddress {
    fileprivate static var listener: ValueSyntax<ServiceAddress> {
        ValueSyntax(
            accepted: AddressText.services,
            schema: .text(matching: #"^[0-9]+(\.[0-9]+){3}(:[0-9]+(/(tcp|udp))?)?$"#)
        ) { text throws(InvalidValue) in try AddressText.service(text) }
    }
}

extension ValueSyntax where Value == WrittenServer {
    fileprivate static var realServer: ValueSyntax<WrittenServer> {
        ValueSyntax(
            accepted: AddressText.servers,
            schema: .text(matching: #"^[0-9]+(\.[0-9]+){3}(=[0-9]+(:[0-9]+(/[0-9]+)?)?)?$"#), format: \.description
        ) { text throws(InvalidValue) in try WrittenServer(parsing: text) }
    }
}

extension ValueSyntax where Value == String {
    /// A hysteresis. `PolicyText` validates it together with the quorum.
    fileprivate static var hysteresis: ValueSyntax<String> {
        ValueSyntax(
            accepted: "0 to the quorum less 1", schema: ["type": "integer", "minimum": .number(0)]
        ) { text throws(InvalidValue) in text }
    }

    /// A program's path, or one of its arguments.
    fileprivate static var notifyCommand: ValueSyntax<String> {
        ValueSyntax(
            accepted: "/path/of/a/program, a list of it and its arguments, or none", schema: .scalar,
            single: "/path/of/a/program, a list of it and its arguments, or none"
        ) { text throws(InvalidValue) in text }
    }
}

extension ValueSyntax where Value == IPAddress {
    fileprivate static var address: ValueSyntax<IPAddress> {
        ValueSyntax(accepted: "A.B.C.D", schema: .address) { text throws(InvalidValue) in
            try AddressText.address(text)
        }
    }
}

extension ValueSyntax where Value == Int {
    fileprivate static var maglevSize: ValueSyntax<Int> {
        ValueSyntax(
            accepted: AddressText.maglevSizes,
            schema: [
                "type": "integer", "minimum": .number(MaglevTable.acceptedSizes.lowerBound),
                "maximum": .number(MaglevTable.acceptedSizes.upperBound),
            ]
        ) { text throws(InvalidValue) in try AddressText.maglevSize(text) }
    }

    fileprivate static var prefixLength: ValueSyntax<Int> {
        ValueSyntax(
            accepted: AddressText.netmasks, schema: ["type": .array(["integer", "string"])]
        ) { text throws(InvalidValue) in try AddressText.prefixLength(text) }
    }

    fileprivate static var checkCount: ValueSyntax<Int> {
        ValueSyntax.number(in: 1...100, problem: "no number of checks")
    }
}

extension ValueSyntax where Value == CheckPolicy.Kind {
    fileprivate static var checkKind: ValueSyntax<CheckPolicy.Kind> {
        ValueSyntax(
            accepted: CheckPolicy.Kind.accepted, schema: .text(matching: "^(auto|tcp|tcp:[0-9]+|ping|none)$")
        ) { text throws(InvalidValue) in try CheckPolicy.Kind(parsing: text) }
    }
}

extension ValueSyntax where Value == Quorum.Rule {
    fileprivate static var quorum: ValueSyntax<Quorum.Rule> {
        ValueSyntax(
            accepted: "WEIGHT or WEIGHT/HYSTERESIS",
            schema: [
                "anyOf": .array([
                    ["type": "integer", "minimum": .number(PolicyText.quorums.lowerBound)],
                    .text(matching: "^[0-9]+/[0-9]+$"),
                ])
            ],
            format: { rule in "\(rule.required)" + (rule.hysteresis == 0 ? "" : "/\(rule.hysteresis)") }
        ) { text throws(InvalidValue) in try PolicyText.rule(text) }
    }
}
