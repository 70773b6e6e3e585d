import ArgumentParser
import Director
import LoadBalancing
import ServiceConfiguration

/// `ipvsd --vip … --backends …`: the director, in the foreground.
struct DirectorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ipvsd",
        abstract: "An LVS-style IP-tunnel load balancer.",
        discussion: """
            Without a subcommand this is the director: it takes clients' packets for the VIPs, chooses a real server \
            for each connection, and sends the packets there inside IPIP (RFC 2003). The real servers, set up by \
            'ipvsd realserver-setup', answer the clients directly.

              ipvsd --vip 10.0.0.100 --backends 10.0.0.11,10.0.0.12
              ipvsd --vip 10.0.0.100:80 --backends 10.0.0.11=3,10.0.0.12 --scheduler wrr
              ipvsd --vip 10.0.0.100:80 --backends 10.0.0.11=1:1000/800,10.0.0.12 -x 500
              ipvsd --vip 10.0.0.100:53/udp --backends 10.0.0.11,10.0.0.12 --check ping
              ipvsd --config /etc/ipvsd/ipvsd.yaml

            Schedulers:
            \(Scheduler.allCases.map { "  \($0.rawValue.padded(to: 6))\($0.summary)" }.joined(separator: "\n"))

            Exit codes: 64 a bad value, 69 an interface is missing or busy, 71 the kernel refuses, 75 already \
            running, 77 no privilege.
            """,
        version: Director.version,
        subcommands: Subcommands.all)

    @Option(
        help: ArgumentHelp(
            "A virtual IP: every port of it, or one as A.B.C.D:PORT (TCP) or A.B.C.D:PORT/udp. Repeats, or takes commas.",
            valueName: "address"))
    var vip: [String] = []

    @Option(
        help: ArgumentHelp(
            """
            The real servers, with a weight from 0 (no new connections) to 65535 as A.B.C.D=WEIGHT, and thresholds as \
            A.B.C.D=WEIGHT:UPPER[/LOWER]. Repeats, or takes commas. An address of this machine makes it a real server \
            too, for VIPs with a port.
            """, valueName: "addresses"))
    var backends: [String] = []

    @Option(
        name: [.customShort("x"), .customLong("u-threshold")],
        help: ArgumentHelp(
            """
            Connections, active and inactive, from which on a real server gets no new ones. 0: any number. For those \
            that have none of their own.
            """, valueName: "connections"))
    var upperThreshold: String?

    @Option(
        name: [.customShort("y"), .customLong("l-threshold")],
        help: ArgumentHelp(
            "Connections below which it gets new ones again. 0, the default: three quarters of the upper threshold.",
            valueName: "connections"))
    var lowerThreshold: String?

    @Option(
        help: ArgumentHelp(
            """
            Slots of the Maglev table: a prime from \(MaglevTable.acceptedSizes.lowerBound) to \
            \(MaglevTable.acceptedSizes.upperBound), the same on every director. Default: 4093, or what gives each \
            real server 100.
            """, valueName: "prime"))
    var maglevSize: String?

    @Option(help: ArgumentHelp("See above.", valueName: "name"))
    var scheduler = "wlc"

    @Option(
        help: ArgumentHelp(
            "\(SchedulerFlag.allCases.map(\.rawValue).joined(separator: ", ")), as ipvsadm -b. Repeats, or takes commas.",
            valueName: "flags"))
    var schedFlags: [String] = []

    @Option(
        help: ArgumentHelp(
            """
            Where clients' packets come in: NICs, bonds, bridges, VLAN devices. Repeats, or takes commas. Default: all \
            interfaces of the VIPs' subnets, else the default route's.
            """, valueName: "names"))
    var interface: [String] = []

    @Option(help: "auto, native (in the driver) or generic (in the stack, slower).")
    var xdp = "auto"

    @Option(
        help: ArgumentHelp(
            """
            auto, tcp[:PORT], ping or none. Checks go through the tunnel to the VIP. auto: a connect to the service's \
            port; for a UDP port, a ping (hosts may drop it: until one has answered, real servers serve as unproven and \
            do not count toward the quorum); for every port, a ping and a connect to the ports that clients use.
            """, valueName: "kind"))
    var check = "auto"

    @Option(help: ArgumentHelp("From one check to the next.", valueName: "duration"))
    var checkInterval = "1s"

    @Option(
        help: ArgumentHelp(
            "The same while a real server begins to fall or to rise. Default: three tenths of the interval.",
            valueName: "duration"))
    var checkFastInterval: String?

    @Option(help: ArgumentHelp("For each check; at most the interval.", valueName: "duration"))
    var checkTimeout = "0.7s"

    @Option(help: ArgumentHelp("Successes in a row that bring a real server back.", valueName: "n"))
    var rise = "2"

    @Option(help: ArgumentHelp("Failures in a row that take a real server out.", valueName: "n"))
    var fall = "2"

    @Option(
        help: ArgumentHelp(
            """
            TCP connections of a real server that is down: keep them for when it is back, reset their clients at once, \
            or rehash them to another server.
            """, valueName: "way"))
    var onServerLoss = "keep"

    @Option(
        help: ArgumentHelp(
            """
            Datagram flows of a real server that was removed: move them to the other real servers at once, or let \
            each finish there within one --udp-timeout. The same holds for a sorry server that is no longer needed, \
            and at the end of 'drain --timeout'.
            """, valueName: "way"))
    var onServerRemoval = "move"

    @Flag(help: "A real server that is down gets weight 0, instead of being taken out: its connections go on.")
    var inhibit = false

    @Option(
        help: ArgumentHelp(
            "A real server that comes back gets its share of new connections step by step, in so long.",
            valueName: "duration"))
    var slowStart: String?

    @Option(
        help: ArgumentHelp(
            """
            A real server that falls again and again is held out for longer and longer, as RFC 2439 has it: the \
            half-life of what is held against it. Never for more than four of these, and never below the quorum.
            """, valueName: "duration"))
    var flapDamping: String?

    @Option(
        help: ArgumentHelp(
            """
            The sum of usable real servers' weights that a service needs, and a hysteresis: regained at their sum, lost \
            below their difference. Default: 1/0.
            """, valueName: "weight[/hysteresis]"))
    var quorum: String?

    @Option(help: ArgumentHelp("Serves while the quorum is lost; a real server, too.", valueName: "address"))
    var sorryServer: String?

    @Flag(help: "All --vip are one service: one schedule, one persistence. Default: each is a service of its own.")
    var oneService = false

    @Option(
        help: ArgumentHelp(
            "A client's new connections go to the real server of its last one, for so long after it (ipvsadm -p).",
            valueName: "duration"))
    var persistent: String?

    @Option(
        help: ArgumentHelp(
            "With --persistent: clients that share such a part of their addresses are one, as 24 or 255.255.255.0.",
            valueName: "mask"))
    var persistentNetmask: String?

    @Flag(help: "Schedule every UDP datagram by itself, and remember none (ipvsadm --ops).")
    var onePacket = false

    @Option(
        help: ArgumentHelp(
            """
            How many connections to have room for at ease, at 32 bytes each; up to \
            \(ConnectionLimits.maximumConnections). Default: \(ConnectionLimits.defaultConnections). More, at a later \
            start, lets the table grow without losing any.
            """, valueName: "n"))
    var connections: String?

    @Option(
        help: ArgumentHelp(
            "Forget an established connection after so long without a packet. Default: 15m.", valueName: "duration"))
    var tcpTimeout: String?

    @Option(help: ArgumentHelp("The same after a FIN. Default: 2m.", valueName: "duration"))
    var tcpFinTimeout: String?

    @Option(help: ArgumentHelp("The same for UDP. Default: 5m.", valueName: "duration"))
    var udpTimeout: String?

    @Option(
        help: ArgumentHelp(
            """
            While so many connections are half-open, new ones are not recorded before they carry data; 0: no limit. \
            Default: an eighth of the flow table.
            """, valueName: "n"))
    var halfOpenLimit: String?

    @Flag(help: "Do not take SYNs that no ACK follows for a sign of a dead real server.")
    var noSynWatch = false

    @Flag(help: "Leave the VIPs to somebody else, such as keepalived; do not announce them.")
    var noAddress = false

    @Option(
        help: ArgumentHelp(
            """
            Vary the outer source address by the flow, as 172.16.0.0/16, so that real servers' NICs spread packets over \
            their queues. Anti-spoofing filters on the way and rp_filter on real servers may drop such packets, and \
            routers' ICMP errors about them do not come back. Default: the director's own address.
            """, valueName: "prefix"))
    var outerSourcePrefix: String?

    @Option(
        help: ArgumentHelp(
            """
            Run this program at every event of a service or real server, with IPVSD_EVENT, IPVSD_SERVICE, IPVSD_SERVER, \
            IPVSD_REASON and others in its environment; it has 10 s. See 'ipvsd events --help'.
            """, valueName: "path"))
    var notify: String?

    @Flag(
        help: """
            Tell the program of --notify also how a service begins, at the daemon's start and after a reload that adds the \
            service, once the first checks have ended: of each real server that is not unproven whether it is up or down, \
            and of the quorum and the service where they are up; with IPVSD_AT_START=yes in its environment.
            """)
    var notifyAtStart = false

    @Option(
        help: ArgumentHelp(
            """
            Serve metrics in Prometheus's format over TCP, as http://A.B.C.D:PORT/metrics, to whoever reaches that \
            address. Default: to root only, by 'ipvsd metrics'.
            """, valueName: "address:port"))
    var metricsListen: String?

    @Option(
        help: ArgumentHelp(
            """
            Take everything from a file in YAML instead of flags ('ipvsd check FILE' tries it). SIGHUP and 'ipvsd \
            reload' read it again.
            """, valueName: "file"), completion: .file())
    var config: String?

    @Flag(help: "Take over from the daemon that runs, without losing a packet.")
    var replace = false

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting { try await direct() }
    }

    private func direct() async throws {
        let wanted = try directorConfiguration()
        let instance = try common.instance()
        let logger = common.logger()
        let daemon = try await Daemon.claim(instance, replacing: replace ? wanted : nil)
        try await daemon.run(wanted, file: config, logger: logger)
    }

    /// Makes the configuration, from the flags or from the file of --config.
    func directorConfiguration() throws -> DirectorConfiguration {
        var flags = DirectorFlags(vips: vip, backends: backends)
        flags.scheduler = scheduler
        flags.schedulerFlags = schedFlags
        flags.upperThreshold = upperThreshold
        flags.lowerThreshold = lowerThreshold
        flags.maglevSize = maglevSize
        flags.onServerLoss = onServerLoss
        flags.onServerRemoval = onServerRemoval
        flags.oneService = oneService
        flags.persistent = persistent
        flags.persistentNetmask = persistentNetmask
        flags.onePacket = onePacket
        flags.connections = connections
        flags.tcpTimeout = tcpTimeout
        flags.tcpFinTimeout = tcpFinTimeout
        flags.udpTimeout = udpTimeout
        flags.halfOpenLimit = halfOpenLimit
        flags.interfaces = interface
        flags.xdp = xdp
        flags.check = check
        flags.checkInterval = checkInterval
        flags.checkFastInterval = checkFastInterval
        flags.checkTimeout = checkTimeout
        flags.inhibit = inhibit
        flags.slowStart = slowStart
        flags.flapDamping = flapDamping
        flags.quorum = quorum
        flags.sorryServer = sorryServer
        flags.rise = rise
        flags.fall = fall
        flags.noSYNWatch = noSynWatch
        flags.noAddress = noAddress
        flags.outerSourcePrefix = outerSourcePrefix
        flags.notify = notify
        flags.notifyAtStart = notifyAtStart
        flags.metricsListen = metricsListen
        do {
            if let config {
                let given = flags.given
                guard given.isEmpty else {
                    throw Failure(
                        .badValue,
                        "\(given.joined(separator: ", ")): cannot be beside --config (accepted: --replace, --instance and "
                            + "--verbose; all else is in the file)")
                }
                return try ConfigurationFile.read(config)
            }
            return try flags.configuration(files: .present)
        } catch let errors as ConfigurationErrors { throw Failure(.badValue, "\(errors)") }
    }
}
