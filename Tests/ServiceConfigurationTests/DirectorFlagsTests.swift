import Addresses
import LoadBalancing
import ServiceConfiguration
import Testing

/// Good and bad values of every flag, and the texts of errors.
struct DirectorFlagsTests {
    static let good = TypedFlags(vips: ["10.0.0.100"], backends: ["10.0.0.11,10.0.0.12"])

    /// Returns the errors of `flags`.
    static func errors(_ flags: TypedFlags) -> [String] {
        do {
            _ = try flags.configuration()
            return []
        } catch {
            return error.errors.map(\.description)
        }
    }

    /// Returns the policy of the first service's checks.
    static func policy(_ flags: TypedFlags) throws -> CheckPolicy? {
        guard case .policy(let policy) = try flags.configuration().services.first?.checks else { return nil }
        return policy
    }

    static func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

    @Test("--vip and --backends alone make a service with defaults")
    func shortestCommandLine() throws {
        let configuration = try Self.good.configuration()
        let servers = [
            RealServer(address: try Self.address("10.0.0.11"), weight: 1),
            RealServer(address: try Self.address("10.0.0.12"), weight: 1),
        ]
        let address = ServiceAddress(vip: try Self.address("10.0.0.100"))
        #expect(
            configuration
                == DirectorConfiguration(
                    services: [
                        ConfiguredService(
                            VirtualService(address: address, scheduler: .wlc, servers: servers),
                            checks: .policy(
                                CheckPolicy(
                                    kind: .auto,
                                    pace: CheckPace(
                                        interval: .seconds(1), timeout: .milliseconds(700), rise: 2, fall: 2))))
                    ], interfaces: [], xdp: .auto, managesAddress: true))
    }

    @Test(
        "--vip accepts addresses, ports and protocols",
        arguments: [
            (["10.0.0.100"], ["10.0.0.100"]),
            (["10.0.0.100:80"], ["10.0.0.100:80/tcp"]),
            (["10.0.0.100:443/tcp"], ["10.0.0.100:443/tcp"]),
            (["10.0.0.100:53/udp"], ["10.0.0.100:53/udp"]),
            (["10.0.0.100:1,10.0.0.100:65535"], ["10.0.0.100:1/tcp", "10.0.0.100:65535/tcp"]),
            (["10.0.0.100:53/udp", "10.0.0.100:53/tcp"], ["10.0.0.100:53/udp", "10.0.0.100:53/tcp"]),
            (
                [" 10.0.0.100 , 10.0.0.101:80 ", "10.0.0.100:80"],
                ["10.0.0.100", "10.0.0.101:80/tcp", "10.0.0.100:80/tcp"]
            ),
        ])
    func goodVIPs(vips: [String], services: [String]) throws {
        var flags = Self.good
        flags[each: Options.listeners] = vips
        let configuration = try flags.configuration()
        #expect(configuration.services.map(\.address.description) == services)
        #expect(Set(configuration.services.map(\.servers)).count == 1)
    }

    static let vipForms = "A.B.C.D, A.B.C.D:PORT or A.B.C.D:PORT/tcp|udp"
    static let hosts = "a host's address: 1.0.0.0 to 223.255.255.255 except 127.0.0.0/8"

    @Test(
        "a bad --vip is an error",
        arguments: [
            ("10.0.0.256", "10.0.0.256: 10.0.0.256 is no IPv4 address (accepted: \(vipForms))"),
            ("vip.example", "vip.example: vip.example is no IPv4 address (accepted: \(vipForms))"),
            ("fd00::1", "fd00::1: fd00::1 is an IPv6 address, and only IPv4 is accepted (accepted: \(vipForms))"),
            (
                "[fd00::1]:80/tcp",
                "[fd00::1]:80/tcp: fd00::1 is an IPv6 address, and only IPv4 is accepted (accepted: \(vipForms))"
            ),
            ("10.0.0.1/24", "10.0.0.1/24: 10.0.0.1/24 is no IPv4 address (accepted: \(vipForms))"),
            ("10.0.0.1/udp", "10.0.0.1/udp: 10.0.0.1/udp is no IPv4 address (accepted: \(vipForms))"),
            (":80", ":80: '' is no IPv4 address (accepted: \(vipForms))"),
            ("10.0.0.100:0", "10.0.0.100:0: port 0 is no port (accepted: 1 to 65535)"),
            ("10.0.0.100:65536", "10.0.0.100:65536: port 65536 is no port (accepted: 1 to 65535)"),
            ("10.0.0.100:", "10.0.0.100:: port '' is no port (accepted: 1 to 65535)"),
            ("10.0.0.100:+80", "10.0.0.100:+80: port +80 is no port (accepted: 1 to 65535)"),
            ("10.0.0.100:080", "10.0.0.100:080: port 080 is no port (accepted: 1 to 65535)"),
            ("10.0.0.100:http", "10.0.0.100:http: port http is no port (accepted: 1 to 65535)"),
            ("10.0.0.100:80/sctp", "10.0.0.100:80/sctp: unknown protocol sctp (accepted: tcp, udp)"),
            ("10.0.0.100:80/TCP", "10.0.0.100:80/TCP: unknown protocol TCP (accepted: tcp, udp)"),
            ("10.0.0.100:80/", "10.0.0.100:80/: unknown protocol '' (accepted: tcp, udp)"),
            ("10.0.0.100:80/tcp/udp", "10.0.0.100:80/tcp/udp: unknown protocol tcp/udp (accepted: tcp, udp)"),
            ("127.0.0.1:80", "127.0.0.1:80: 127.0.0.1 is a loopback address (accepted: \(hosts))"),
            ("224.0.0.18", "224.0.0.18: 224.0.0.18 is a multicast address (accepted: \(hosts))"),
            ("0.0.0.0", "0.0.0.0: 0.0.0.0 is an address of 0.0.0.0/8 (accepted: \(hosts))"),
            ("255.255.255.255", "255.255.255.255: 255.255.255.255 is a reserved address (accepted: \(hosts))"),
            ("", "'': an item is empty (accepted: \(vipForms))"),
            (" , ", "' , ': an item is empty (accepted: \(vipForms))"),
            ("10.0.0.100,", "10.0.0.100,: an item is empty (accepted: \(vipForms))"),
            ("10.0.0.100,,10.0.0.101", "10.0.0.100,,10.0.0.101: an item is empty (accepted: \(vipForms))"),
            ("10.0.0.100,10.0.0.100", "10.0.0.100: 10.0.0.100 is given twice (accepted: each service once)"),
            (
                "10.0.0.100:80,10.0.0.100:80/tcp",
                "10.0.0.100:80/tcp: 10.0.0.100:80/tcp is given twice (accepted: each service once)"
            ),
        ])
    func badVIPs(value: String, error: String) {
        var flags = Self.good
        flags[each: Options.listeners] = [value]
        #expect(Self.errors(flags) == ["--vip " + error])
    }

    @Test(
        "--backends accepts addresses and weights",
        arguments: [
            (["10.0.0.11"], [("10.0.0.11", 1)]),
            (["10.0.0.11=3,10.0.0.12=0"], [("10.0.0.11", 3), ("10.0.0.12", 0)]),
            (["10.0.0.12=65535", " 10.0.0.11 "], [("10.0.0.12", 65535), ("10.0.0.11", 1)]),
        ] as [([String], [(String, UInt16)])])
    func goodBackends(backends: [String], servers: [(String, UInt16)]) throws {
        var flags = Self.good
        flags[each: Options.servers] = backends
        let configuration = try flags.configuration()
        let expected = try servers.map { RealServer(address: try Self.address($0.0), weight: $0.1) }
        #expect(configuration.services.map(\.servers) == [expected])
    }

    static let backendForms = "A.B.C.D, A.B.C.D=WEIGHT or A.B.C.D=WEIGHT:UPPER[/LOWER]"

    @Test(
        "a bad --backends is an error",
        arguments: [
            (
                "fd00::1=2",
                "fd00::1=2: fd00::1 is an IPv6 address, and only IPv4 is accepted (accepted: \(backendForms))"
            ),
            ("10.0.0.", "10.0.0.: 10.0.0. is no IPv4 address (accepted: \(backendForms))"),
            ("10.0.0.11:80", "10.0.0.11:80: 10.0.0.11:80 is no IPv4 address (accepted: \(backendForms))"),
            ("=3", "=3: '' is no IPv4 address (accepted: \(backendForms))"),
            ("10.0.0.11=", "10.0.0.11=: weight '' is no weight (accepted: 0 to 65535)"),
            ("10.0.0.11=-1", "10.0.0.11=-1: weight -1 is no weight (accepted: 0 to 65535)"),
            ("10.0.0.11=65536", "10.0.0.11=65536: weight 65536 is no weight (accepted: 0 to 65535)"),
            ("10.0.0.11=1.5", "10.0.0.11=1.5: weight 1.5 is no weight (accepted: 0 to 65535)"),
            ("10.0.0.11=1=2", "10.0.0.11=1=2: weight 1=2 is no weight (accepted: 0 to 65535)"),
            (
                "10.0.0.11=99999999999999999999",
                "10.0.0.11=99999999999999999999: weight 99999999999999999999 is no weight (accepted: 0 to 65535)"
            ),
            ("10.0.0.11,10.0.0.11", "10.0.0.11: 10.0.0.11 is given twice (accepted: each real server once)"),
            ("10.0.0.11,10.0.0.11=2", "10.0.0.11=2: 10.0.0.11 is given twice (accepted: each real server once)"),
            ("10.0.0.11,10.0.0.100", "10.0.0.100: 10.0.0.100 is a VIP (accepted: the real servers' own addresses)"),
            ("10.0.0.11,,10.0.0.12", "10.0.0.11,,10.0.0.12: an item is empty (accepted: \(backendForms))"),
            ("127.0.0.1", "127.0.0.1: 127.0.0.1 is a loopback address (accepted: \(hosts))"),
            ("239.0.0.1=2", "239.0.0.1=2: 239.0.0.1 is a multicast address (accepted: \(hosts))"),
        ])
    func badBackends(value: String, error: String) {
        var flags = Self.good
        flags[each: Options.servers] = [value]
        #expect(Self.errors(flags) == ["--backends " + error])
    }

    @Test("missing required flags are errors")
    func missingFlags() {
        #expect(
            Self.errors(TypedFlags()) == [
                "--vip: missing (accepted: \(Self.vipForms))",
                "--backends: missing (accepted: \(Self.backendForms))",
            ])
    }

    @Test("enumerations accept their names only")
    func enumerations() throws {
        for scheduler in Scheduler.allCases {
            var flags = Self.good
            flags[Options.scheduler] = scheduler.rawValue
            #expect(try flags.configuration().services.map(\.forwarding.scheduler) == [scheduler])
        }
        for xdp in XDPPreference.allCases {
            var flags = Self.good
            flags[Options.xdp] = xdp.rawValue
            #expect(try flags.configuration().xdp == xdp)
        }
        var flags = Self.good
        flags[Options.scheduler] = "fastest"
        flags[Options.xdp] = ""
        #expect(
            Self.errors(flags) == [
                "--scheduler fastest: unknown scheduler (accepted: rr, wrr, lc, wlc, sed, nq, sh, dh, mh, fo, ovf, twos, lblc, lblcr)",
                "--xdp '': unknown mode (accepted: auto, native, generic)",
            ])
    }

    @Test(
        "--interface accepts the kernel's names",
        arguments: ["eth0", "enp0s31f6", "a", "bond0.100", "fifteen_bytes_1", "wlan@1"])
    func goodInterfaces(name: String) throws {
        var flags = Self.good
        flags[each: Options.interfaces] = [name]
        #expect(try flags.configuration().interfaces == [name])
    }

    @Test("--interface repeats, and each name counts once")
    func severalInterfaces() throws {
        var flags = Self.good
        flags[each: Options.interfaces] = ["eth0, eth1", "bond0.100"]
        #expect(try flags.configuration().interfaces == ["eth0", "eth1", "bond0.100"])
        flags[each: Options.interfaces].append("eth1")
        #expect(Self.errors(flags) == ["--interface eth1: eth1 is given twice (accepted: each interface once)"])
    }

    @Test(
        "--outer-source-prefix accepts lengths from 8 to 24",
        arguments: [("172.16.0.0/16", 16), ("11.0.0.0/8", 8), ("192.0.2.0/24", 24)])
    func goodOuterSources(text: String, length: Int) throws {
        var flags = Self.good
        flags[Options.outerSources] = text
        let prefix = try #require(try flags.configuration().outerSources)
        #expect(prefix.description == text)
        #expect(prefix.length == length)
        #expect(prefix.contains(prefix.address))
        #expect(prefix.contains(prefix.addresses.upperBound))
        #expect(!prefix.contains(IPAddress(try #require(prefix.address.v4).value - 1)))
    }

    @Test(
        "a bad --outer-source-prefix is an error",
        arguments: [
            ("172.16.0.0", "the prefix has no length"), ("172.16.0.0/25", "25 is no length for it"),
            ("172.16.0.0/7", "7 is no length for it"), ("172.16.0.0/", "'' is no length for it"),
            ("172.16.0.1/16", "172.16.0.1 has bits behind the prefix of 16"), ("x/16", "x is no IPv4 address"),
            ("224.0.0.0/8", "224.0.0.0 is a multicast address"),
            ("10.0.0.0/24", "10.0.0.100, a VIP, is in it, and real servers drop what comes from it"),
        ])
    func badOuterSources(text: String, problem: String) throws {
        var flags = Self.good
        flags[Options.outerSources] = text
        let error = try #require(Self.errors(flags).first)
        #expect(error.hasPrefix("--outer-source-prefix \(text): \(problem) (accepted: "))
    }

    @Test(
        "a bad --interface is an error",
        arguments: [
            ("", "'': an item is empty"),
            ("eth0,,eth1", "eth0,,eth1: an item is empty"),
            ("eth 0", "'eth 0': the name has a space, slash or colon"),
            ("eth\t0", #"'eth\t0': the name has a space, slash or colon"#),
            ("../eth0", "../eth0: the name has a space, slash or colon"),
            ("eth0:1", "eth0:1: the name has a space, slash or colon"),
            ("..", "..: the name is no interface's"),
            (String(repeating: "é", count: 64), String(repeating: "é", count: 64) + ": the name has 128 bytes"),
        ])
    func badInterfaces(name: String, error: String) {
        var flags = Self.good
        flags[each: Options.interfaces] = [name]
        #expect(
            Self.errors(flags) == ["--interface \(error) (accepted: 1 to 127 bytes without space, slash and colon)"])
    }

    @Test(
        "--check accepts its kinds",
        arguments: [
            ("10.0.0.100", "auto", .auto),
            ("10.0.0.100", "ping", .ping),
            ("10.0.0.100", "none", .none),
            ("10.0.0.100", "tcp:8080", .tcp(port: 8080)),
            ("10.0.0.100:80", "tcp", .tcp(port: nil)),
        ] as [(String, String, CheckPolicy.Kind)])
    func goodChecks(vip: String, check: String, kind: CheckPolicy.Kind) throws {
        var flags = Self.good
        flags[each: Options.listeners] = [vip]
        flags[Options.check] = check
        #expect(try Self.policy(flags)?.kind == kind)
        #expect(kind.description == check)
    }

    @Test(
        "a bad --check is an error",
        arguments: [
            ("", "'': no such check (accepted: auto, tcp, tcp:PORT, ping or none)"),
            ("http", "http: no such check (accepted: auto, tcp, tcp:PORT, ping or none)"),
            ("tcp:", "tcp:: port '' is no port (accepted: 1 to 65535)"),
            ("tcp:0", "tcp:0: port 0 is no port (accepted: 1 to 65535)"),
            ("tcp:65536", "tcp:65536: port 65536 is no port (accepted: 1 to 65535)"),
            ("tcp", "tcp: the service 10.0.0.100 has no port to connect to (accepted: tcp:PORT)"),
        ])
    func badChecks(check: String, error: String) {
        var flags = Self.good
        flags[each: Options.listeners] = ["10.0.0.101:80", "10.0.0.100"]
        flags[Options.check] = check
        #expect(Self.errors(flags) == ["--check " + error])
    }

    @Test("the pace of checks has its bounds")
    func checkTimes() throws {
        var flags = Self.good
        (flags[Options.checkInterval], flags[Options.checkTimeout], flags[Options.rise], flags[Options.fall]) = (
            "2s", "2s", "1", "100"
        )
        let checks = try #require(try Self.policy(flags))
        #expect(checks.interval == .seconds(2))
        #expect(checks.timeout == .seconds(2))
        #expect(checks.rise == 1)
        #expect(checks.fall == 100)
        (flags[Options.checkInterval], flags[Options.checkTimeout], flags[Options.rise], flags[Options.fall]) = (
            "1", "1d", "0", "101"
        )
        #expect(
            Self.errors(flags) == [
                "--check-interval 1: no unit (accepted: 10ms to 1h, in ms, s, m or h)",
                "--check-timeout 1d: unknown unit d (accepted: 10ms to 1h, in ms, s, m or h)",
                "--rise 0: no number of checks (accepted: 1 to 100)",
                "--fall 101: no number of checks (accepted: 1 to 100)",
            ])
        (flags[Options.checkInterval], flags[Options.checkTimeout], flags[Options.rise], flags[Options.fall]) = (
            "1s", "1001ms", "", "two"
        )
        #expect(
            Self.errors(flags) == [
                "--check-timeout 1001ms: longer than the check interval (accepted: 10ms to the interval, 1s)",
                "--rise '': no number of checks (accepted: 1 to 100)",
                "--fall two: no number of checks (accepted: 1 to 100)",
            ])
    }

    @Test("a real server's own thresholds outrank those of all")
    func thresholdsOfAllAndOfOne() throws {
        var flags = Self.good
        flags[each: Options.servers] = [
            "10.0.0.11=3:100/50,10.0.0.12=2:80", "10.0.0.13=1:0,10.0.0.14=5,10.0.0.15,10.0.0.16=1:9/0",
        ]
        func thresholds() throws -> [ConnectionThresholds?] {
            try #require(try flags.configuration().services.first).servers.map(\.thresholds)
        }
        let own = ConnectionThresholds(upper: 100, lower: 50)
        let short = ConnectionThresholds(upper: 9)
        #expect(try thresholds() == [own, ConnectionThresholds(upper: 80), nil, nil, nil, short])
        flags[Options.upperThreshold] = "500"
        let all = ConnectionThresholds(upper: 500)
        #expect(try thresholds() == [own, ConnectionThresholds(upper: 80), nil, all, all, short])
        flags[Options.lowerThreshold] = "400"
        #expect(try thresholds()[3] == ConnectionThresholds(upper: 500, lower: 400))
        (flags[Options.upperThreshold], flags[Options.lowerThreshold]) = ("0", "0")
        #expect(try thresholds()[3] == nil)
    }

    @Test(
        "bad thresholds of a real server are an error",
        arguments: [
            ("10.0.0.11=1:", "'' is no upper threshold (accepted: 0 to 999999999)"),
            ("10.0.0.11=1:-1", "-1 is no upper threshold (accepted: 0 to 999999999)"),
            ("10.0.0.11=1:5/", "'' is no lower threshold (accepted: 0 to 999999999)"),
            ("10.0.0.11=1:5/6", "the lower threshold, 6, is above the upper one (accepted: 0 to 5)"),
            ("10.0.0.11=:5", "weight '' is no weight (accepted: 0 to 65535)"),
        ])
    func badThresholds(value: String, error: String) {
        var flags = Self.good
        flags[each: Options.servers] = [value]
        #expect(Self.errors(flags) == ["--backends \(value): \(error)"])
    }

    @Test("bad thresholds of all real servers are an error")
    func badThresholdFlags() {
        var flags = Self.good
        flags[Options.lowerThreshold] = "5"
        #expect(
            Self.errors(flags) == [
                "--l-threshold 5: there is no upper threshold (accepted: with --u-threshold only)"
            ])
        flags[Options.upperThreshold] = "4"
        #expect(
            Self.errors(flags) == [
                "--u-threshold 4 --l-threshold 5: the lower threshold, 5, is above the upper one (accepted: 0 to 4)"
            ])
        (flags[Options.upperThreshold], flags[Options.lowerThreshold]) = ("many", nil)
        #expect(
            Self.errors(flags) == ["--u-threshold many: many is no upper threshold (accepted: 0 to 999999999)"])
    }

    @Test("--maglev-size accepts primes from the number of real servers on")
    func maglevSize() throws {
        var flags = Self.good
        #expect(try flags.configuration().services.first?.forwarding.maglevSize == nil)
        for size in ["251", "65537", "655373"] {
            flags[Options.maglevSize] = size
            #expect(try flags.configuration().services.first?.forwarding.maglevSize == Int(size))
        }
        let primes = "a prime from 251 to 655373"
        for (size, error) in [
            ("65536", "no prime (accepted: \(primes); the nearest: 65521 or 65537)"),
            ("252", "no prime (accepted: \(primes); the nearest: 251 or 257)"),
            ("241", "no size of a Maglev table (accepted: \(primes))"),
            ("655379", "no size of a Maglev table (accepted: \(primes))"),
            ("+251", "no size of a Maglev table (accepted: \(primes))"),
            ("big", "no size of a Maglev table (accepted: \(primes))"),
        ] {
            flags[Options.maglevSize] = size
            #expect(Self.errors(flags) == ["--maglev-size \(size): \(error)"])
        }
        flags[Options.maglevSize] = "251"
        flags[each: Options.servers] = (1...252).map { "10.0.1.\($0)" }
        #expect(
            Self.errors(flags) == [
                "--maglev-size 251: smaller than the number of real servers (accepted: \(primes) that is not below 252; "
                    + "100 times as much shares evenly)"
            ])
    }

    @Test("--no-address leaves the VIPs' addresses to another program")
    func addressIsLeftAloneOnRequest() throws {
        var flags = Self.good
        flags[typed: Options.addresses] = true
        #expect(try flags.configuration().managesAddress == false)
    }

    @Test("all errors of a command line are reported together")
    func allErrorsAreReportedAtOnce() {
        var flags = TypedFlags(
            vips: ["10.0.0.100:0,10.0.0.101", "x"], backends: ["10.0.0.101=70000", "10.0.0.101"])
        flags[Options.scheduler] = "random"
        flags[each: Options.interfaces] = ["/dev/eth0"]
        flags[Options.xdp] = "skb"
        flags[Options.check] = "tcp"
        flags[Options.checkInterval] = "0s"
        flags[Options.rise] = "-1"
        let errors = Self.errors(flags)
        let places = errors.map { $0.split(separator: ": ")[0] }
        #expect(
            places == [
                "--vip 10.0.0.100:0", "--vip x", "--backends 10.0.0.101=70000", "--backends 10.0.0.101",
                "--scheduler random", "--interface /dev/eth0", "--xdp skb", "--check tcp", "--check-interval 0s",
                "--rise -1",
            ])
        #expect(throws: ConfigurationErrors.self) { try flags.configuration() }
    }

    @Test("each error is one line")
    func errorsAreALineEach() {
        let error = ConfigurationError(place: "--vip x", problem: "bad", accepted: "good")
        #expect(ConfigurationErrors([error, error]).description == "--vip x: bad (accepted: good)\n\(error)")
    }
}
