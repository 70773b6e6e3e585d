public import Addresses
import LoadBalancing

/// The options of the director itself.
extension Options {
    static let director: [any DeclaredOption] = [
        interfaces, xdp, addresses, synWatch, outerSources, connections, halfOpenLimit, timeouts, tcpTimeout,
        tcpFinTimeout, udpTimeout, metricsListen, logFormat, defaults, serviceList,
    ]

    static let settings: [Setting<DirectorConfiguration>] = [
        Setting(xdp, \.xdp), Setting(addresses, \.managesAddress), Setting(synWatch, \.watchesSYNs),
        Setting(outerSources, \.outerSources), Setting(connections, \.connections),
        Setting(halfOpenLimit, \.halfOpenLimit), Setting(tcpTimeout, \.timeouts.tcp),
        Setting(tcpFinTimeout, \.timeouts.tcpFin), Setting(udpTimeout, \.timeouts.udp),
        Setting(metricsListen, \.metricsListen), Setting(logFormat, \.logFormat),
    ]

    private static let standard = DirectorConfiguration()

    // MARK: Network

    public static let interfaces = DirectorOption(
        flag: .value(.network, "names", name: "interface", repeats: true), key: "interfaces", in: [.file], list: true,
        .interface,
        help: OptionHelp(
            "The interfaces on which clients' packets arrive: NICs, bonds, bridges and VLAN devices.",
            standard: "all interfaces of the VIPs' subnets, else the default route's"))

    public static let xdp = DirectorOption(
        "xdp", flag: .value(.network, "xdp"), in: [.file], .choice(called: "mode"), standard: standard.xdp,
        help: "The place of the XDP program: native (in the driver), generic (in the stack, slower) or auto.")

    public static let addresses = DirectorOption(
        flag: .presence(.network, "no-address", means: false), key: "addresses", in: [.file], .flag,
        standard: standard.managesAddress,
        help: OptionHelp(
            "Leave the VIPs' addresses to another program, such as keepalived: do not add them, do not announce them.",
            key: "Whether the director adds the VIPs to this machine and announces them. With false another program, "
                + "such as keepalived, does."))

    public static let outerSources = DirectorOption(
        "outer-source-prefix", flag: .value(.network, "prefix"), in: [.file], .outerSources,
        help: OptionHelp(
            "Vary the outer source address by the flow, as 172.16.0.0/16, so that real servers' NICs spread packets over "
                + "their queues. Anti-spoofing filters on the path and rp_filter on real servers may drop such "
                + "packets. Routers' ICMP errors about them do not return.",
            standard: "the director's own address"))

    // MARK: Connections

    public static let synWatch = DirectorOption(
        flag: .presence(.checks, "no-syn-watch", means: false), key: "syn-watch", in: [.file], .flag,
        standard: standard.watchesSYNs,
        help: OptionHelp(
            "Do not check a real server early, and do not reschedule repeated SYNs, where SYNs get no ACK.",
            key: "Whether SYNs without an ACK trigger a check of their real server, and repeated ones are rescheduled.")
    )

    public static let connections = DirectorOption(
        "connections", flag: .value(.connections, "n"), in: [.file],
        .number(in: 1...ConnectionLimits.maximumConnections, problem: "no number of connections"),
        standard: standard.connections,
        help: OptionHelp(
            "The number of connections that the flow table has room for, at 32 bytes each; up to "
                + "\(ConnectionLimits.maximumConnections). A later start with a larger number grows the table "
                + "and loses no connection.",
            term: "IPVS: conn_tab_bits"))

    public static let halfOpenLimit = DirectorOption(
        "half-open-limit", flag: .value(.connections, "n"), in: [.file],
        .number(in: 0...Int(Int32.max), problem: "no number of connections"),
        help: OptionHelp(
            "The number of half-open connections from which on new ones are recorded only once they carry data. "
                + "0: no limit.",
            standard: "an eighth of the flow table"))

    package static let timeouts = FileMapping(
        "timeouts", in: [.file], holds: .timeouts,
        help: OptionHelp("Idle time-outs of connections, by state.", term: "ipvsadm --set"))

    public static let tcpTimeout = timeout(
        "tcp", flag: "tcp-timeout", \.tcp, "Idle time-out of an established TCP connection.",
        term: "ipvsadm --set, first value; keepalived lvs_timeouts tcp")

    public static let tcpFinTimeout = timeout(
        "tcp-fin", flag: "tcp-fin-timeout", \.tcpFin, "Idle time-out of a TCP connection after a FIN.",
        term: "ipvsadm --set, second value; keepalived lvs_timeouts tcpfin")

    public static let udpTimeout = timeout(
        "udp", flag: "udp-timeout", \.udp, "Idle time-out of a UDP flow.",
        term: "ipvsadm --set, third value; keepalived lvs_timeouts udp")

    private static func timeout(
        _ key: String, flag: String, _ path: KeyPath<Timeouts, Int>, _ text: String, term: String
    ) -> DirectorOption<Int> {
        DirectorOption(
            flag: .value(.connections, "duration", name: flag), key: key, in: [.timeouts], .seconds(in: Timeouts.range),
            standard: standard.timeouts[keyPath: path], help: OptionHelp(text, term: term))
    }

    // MARK: Events, metrics and log

    public static let metricsListen = DirectorOption(
        "metrics-listen", flag: .value(.events, "address:port"), in: [.file], .listenAddress,
        help: OptionHelp(
            "Serve metrics in Prometheus's format over TCP, as http://A.B.C.D:PORT/metrics, to every host that reaches "
                + "that address.",
            standard: "to root only, by 'ipvsd metrics'"))

    public static let logFormat = DirectorOption(
        "log-format", flag: .value(.events, "format"), in: [.file], .choice(called: "format"),
        standard: standard.logFormat,
        help: "The form of the log on standard error: text, or json with an object on each line.")

    // MARK: Mappings of services

    public static let defaults = FileMapping(
        "defaults", in: [.file], holds: .defaults,
        help: "Values for services that do not have the key themselves.")

    public static let serviceList = FileMapping(
        "services", in: [.file], list: true, holds: .service, help: "The virtual services. At least one is needed.")
}

extension ValueSyntax where Value == IPPrefix {
    fileprivate static var outerSources: ValueSyntax<IPPrefix> {
        ValueSyntax(
            accepted: AddressText.outerSourcePrefixes,
            schema: .text(matching: #"^[0-9]+(\.[0-9]+){3}/[0-9]+$"#)
        ) { text throws(InvalidValue) in try AddressText.outerSources(text) }
    }
}

extension ValueSyntax where Value == ListenAddress {
    fileprivate static var listenAddress: ValueSyntax<ListenAddress> {
        ValueSyntax(
            accepted: "A.B.C.D:PORT, as 127.0.0.1:9104", schema: .text(matching: #"^[0-9]+(\.[0-9]+){3}:[0-9]+$"#)
        ) { text throws(InvalidValue) in try ListenAddress(parsing: text) }
    }
}
