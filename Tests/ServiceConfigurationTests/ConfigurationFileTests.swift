import Addresses
import Foundation
import HealthChecks
import LoadBalancing
import ServiceConfiguration
import Testing

/// The configuration file: its configuration, and its errors with their lines.
struct ConfigurationFileTests {
    static func parse(_ text: String) throws -> DirectorConfiguration {
        try ConfigurationFile.parse(text, file: "f")
    }

    static func errors(_ text: String) -> [String] {
        do {
            _ = try ConfigurationFile.parse(text, file: "f")
            return []
        } catch { return error.errors.map(\.description) }
    }

    /// The listener 10.0.0.100:80 of `service`.
    static let address = ServiceAddress(vip: IPAddress(0x0A00_0064), port: 80, transport: .tcp)
    /// A file with one good service, to which keys can be added.
    static let service = "services:\n- listeners: 10.0.0.100:80\n  servers: [10.0.0.11, 10.0.0.12]\n"

    @Test("examples/ipvsd.yaml makes the configuration that its comments describe")
    func exampleIsGoodAndMeansWhatItSays() throws {
        let url = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../examples/ipvsd.yaml")
        let configuration = try ConfigurationFile.parse(
            String(contentsOf: url.standardizedFileURL, encoding: .utf8), file: "ipvsd.yaml")
        #expect(configuration.services.count == 4)
        #expect(configuration.connections == 1_000_000)
        #expect(configuration.halfOpenLimit == 100_000)
        let web = configuration.services[1]
        #expect(web.listeners.map(\.description) == ["10.0.0.101:80/tcp", "10.0.0.101:443/tcp"])
        #expect(web.forwarding.scheduler == .mh)
        #expect(web.forwarding.flags == [.mhPort, .mhFallback])
        #expect(web.forwarding.maglevSize == 65537)
        #expect(web.forwarding.persistence == Persistence(timeout: 300, prefixLength: 24))
        #expect(
            web.servers == [
                RealServer(address: IPAddress("10.0.0.11")!),
                RealServer(
                    address: IPAddress("10.0.0.12")!, weight: 3,
                    thresholds: ConnectionThresholds(upper: 1000, lower: 800)),
                RealServer(
                    address: IPAddress("10.0.0.13")!, weight: 2, thresholds: ConnectionThresholds(upper: 500)),
            ])
        #expect(
            web.policy
                == ServicePolicy(
                    inhibits: true, slowStart: .seconds(30), flapDamping: .seconds(60),
                    quorum: Quorum.Rule(required: 3, hysteresis: 1), sorryServer: IPAddress("10.0.0.99")))
        #expect(
            try web.checks
                == .listed([
                    ServiceCheck(
                        .http(
                            HTTPCheck(
                                port: 80, path: "/health", host: "www.example.org", status: [200...200, 204...204],
                                body: [.contains("ok")])), via: .both),
                    ServiceCheck(
                        .http(
                            HTTPCheck(
                                port: 443,
                                tls: TLSOptions(
                                    serverName: "www.example.org", verification: .full,
                                    minimumValidity: .seconds(14 * 86_400)))),
                        pace: CheckPace(interval: .seconds(10), timeout: .seconds(3))),
                    ServiceCheck(
                        .script(ScriptCheck(arguments: ["/bin/true", "{server}"])), via: .direct,
                        pace: CheckPace(interval: .seconds(5), timeout: .seconds(2))),
                ]))
        #expect(configuration.services[2].forwarding.isOnePacket)
        let mail = configuration.services[3]
        #expect(mail.checks == .policy(CheckPolicy(kind: .tcp(port: nil))))
        #expect(mail.servers.count == 2)
    }

    @Test("flags and a file make the same configuration")
    func flagsAndFileMakeTheSame() throws {
        var flags = TypedFlags(
            vips: ["10.0.0.100:80,10.0.0.100:443"], backends: ["10.0.0.11=3:100/50,10.0.0.12"])
        (flags[Options.scheduler], flags[each: Options.schedulerFlags], flags[Options.maglevSize]) = (
            "mh", ["mh-port"], "65537"
        )
        (flags[typed: Options.oneService], flags[Options.persistent], flags[Options.persistentNetmask]) = (
            true, "5m", "24"
        )
        (flags[Options.checkInterval], flags[Options.checkTimeout], flags[Options.rise], flags[Options.fall]) = (
            "2s", "1s", "3", "4"
        )
        (flags[each: Options.interfaces], flags[Options.xdp], flags[Options.onServerLoss]) = (
            ["eth0,eth1"], "generic", "reset"
        )
        flags[Options.onServerRemoval] = "finish"
        (flags[Options.connections], flags[Options.tcpTimeout], flags[Options.udpTimeout]) = ("1000", "10m", "10s")
        (flags[Options.halfOpenLimit], flags[typed: Options.addresses], flags[typed: Options.synWatch]) = (
            "7", true, true
        )
        flags[Options.outerSources] = "172.16.0.0/16"
        (flags[typed: Options.inhibit], flags[Options.slowStart], flags[Options.flapDamping]) = (true, "30s", "1m")
        (flags[Options.quorum], flags[Options.sorryServer], flags[Options.checkFastInterval]) = (
            "3/1", "10.0.0.99", "0.5s"
        )
        let file = """
            interfaces: [eth0, eth1]
            xdp: generic
            addresses: false
            syn-watch: false
            connections: 1000
            half-open-limit: 7
            outer-source-prefix: 172.16.0.0/16
            timeouts: {tcp: 10m, udp: 10s}
            defaults: {interval: 2s, fast-interval: 0.5s, timeout: 1s, rise: 3, fall: 4, on-server-loss: reset,
              on-server-removal: finish}
            services:
              - listeners: [10.0.0.100:80, 10.0.0.100:443]
                scheduler: mh
                sched-flags: mh-port
                maglev-size: 65537
                persistence: {timeout: 5m, netmask: 255.255.255.0}
                inhibit: true
                slow-start: 30s
                flap-damping: 1m
                quorum: 3
                hysteresis: 1
                sorry-server: 10.0.0.99
                servers: [10.0.0.11=3:100/50, {address: 10.0.0.12}]
            """
        #expect(try Self.parse(file) == flags.configuration())
    }

    @Test("all errors are reported together, each with its line")
    func everyErrorIsToldAtOnceWithItsLine() {
        let text = """
            interfaces: [eth0, "a b"]
            xdpp: auto
            defaults:
              scheduler: wlx
              rise: 0
            services:
              - listeners: [10.0.0.100:80, 10.0.0.300]
                servers: [10.0.0.11=70000, 10.0.0.100]
                colour: red
              - listeners: 10.0.0.100:80
                scheduler: mh
                servers: 10.0.0.12
                interval: 1s
                timeout: 2s
                checks:
                  - {type: http, path: health}
                  - {type: dns, body-contains: x}
                  - {type: pong}
            """
        let errors = Self.errors(text)
        let expected = [
            "f:1: interfaces 'a b': the name has a space, slash or colon (accepted: 1 to 127 bytes without space, slash and colon)",
            "f:2: xdpp: unknown key (accepted: interfaces, xdp, addresses, syn-watch, outer-source-prefix, connections, "
                + "half-open-limit, timeouts, metrics-listen, log-format, defaults, services)",
            "f:4: scheduler wlx: unknown scheduler (accepted: \(Scheduler.allCases.map(\.rawValue).joined(separator: ", ")))",
            "f:5: rise 0: no number of checks (accepted: 1 to 100)",
            "f:7: listeners 10.0.0.300: 10.0.0.300 is no IPv4 address (accepted: A.B.C.D, A.B.C.D:PORT or A.B.C.D:PORT/tcp|udp)",
            "f:8: servers 10.0.0.11=70000: weight 70000 is no weight (accepted: 0 to 65535)",
            "f:8: servers 10.0.0.100: 10.0.0.100 is a VIP (accepted: the real servers' own addresses)",
            "f:10: listeners 10.0.0.100:80: 10.0.0.100:80/tcp is given twice (accepted: each listener once)",
            "f:14: timeout 2s: longer than the check interval (accepted: 10ms to the interval, 1s)",
            "f:18: type pong: unknown type of check (accepted: ping, mtu, tcp, tls, http, https, grpc, smtp, dns, udp, script, file)",
        ]
        for line in expected { #expect(errors.contains(line), "\(errors.joined(separator: "\n"))") }
        #expect(errors.contains { $0.hasPrefix("f:9: colour: unknown key (accepted: listeners, ") })
        #expect(errors.contains { $0.hasPrefix("f:16: checks: path \"health\"") })
        #expect(errors.contains { $0.hasPrefix("f:17: body-contains: not of a check of type dns") })
        #expect(errors.contains { $0.hasPrefix("f:17: checks: a check of type dns without name") })
        #expect(errors.count == expected.count + 4, "\(errors.joined(separator: "\n"))")
        let lines = errors.map { Int($0.dropFirst(2).prefix { $0 != ":" }) ?? 0 }
        #expect(lines == lines.sorted())
    }

    @Test(
        "a file with one mistake has one error with its line",
        arguments: [
            ("", "f:1: the file: it is empty"), ("a: [", "f:"), ("[1]", "f:1: the file: no mapping"),
            ("xdp: auto\nxdp: native", "f:1: xdp: given twice in one mapping"),
            ("xdp: auto", "f:1: the file: there are no services"),
            ("services: []", "f:1: services: there are no services"),
            ("services:\n- {servers: 10.0.0.11}", "f:2: services: no listeners"),
            ("services: [10.0.0.1]", "f:1: services: no mapping"),
            (service + "---\n" + service, "f:5: the file: a second document begins here (accepted: one, without ---"),
            (
                service + "  checks: [{type: smtp, colour: red}]",
                "f:4: colour: unknown key (accepted: type, via, interval, fast-interval, timeout, rise, fall, port, helo)"
            ),
            (
                service + "  checks: [{type: mtu, helo: me}]",
                "f:4: helo: not of a check of type mtu (accepted: type, via, interval, fast-interval, timeout, rise, fall, size)"
            ),
            (service + "  scheduler: [rr]", "f:4: scheduler: no single value"),
            (service + "  checks: []", "f:4: checks: an empty list"),
            (service + "  checks: [{port: 1}]", "f:4: checks: a check without type"),
            (service + "  check: ping\n  checks: [{type: ping}]", "f:4: check ping: there are checks, too"),
            (service + "  checks: [{type: ping}, {type: ping}]", "f:4: checks: the same check twice"),
            (service + "  checks: [{type: http, body-matches: '('}]", "f:4: body-matches (: "),
            (service + "  checks: [{type: http, status: 200-100}]", "f:4: status 200-100: no end of a range"),
            (service + "  checks: [{type: script, command: [x]}]", "f:4: command: [\"x\"] is no command"),
            (service + "  checks: [{type: file, path: x}]", "f:4: path x: \"x\" is no absolute path"),
            (service + "  checks: [{type: udp}]", "f:4: checks: the service has no udp port"),
            (
                service + "  checks: [{type: ping, via: wire}]",
                "f:4: via wire: unknown way (accepted: tunnel, direct, both)"
            ),
            (service + "  one-packet: true", "f:4: one-packet true: no listener takes UDP"),
            (service + "  inhibit: maybe", "f:4: inhibit maybe: neither yes nor no (accepted: true or false)"),
            (service + "  sched-flags: mh-port", "f:4: sched-flags mh-port: the scheduler is wlc"),
            (service + "  lower-threshold: 5", "f:4: lower-threshold 5: there is no upper threshold"),
            (service + "  persistence: {netmask: 33}", "f:4: netmask 33: no netmask"),
            (service + "  maglev-size: 252", "f:4: maglev-size 252: no prime"),
        ])
    func oneError(text: String, start: String) {
        let errors = Self.errors(text)
        #expect(errors.count == 1, "\(errors)")
        #expect(errors.first?.hasPrefix(start) == true, "\(errors)")
    }

    /// Parses truth values of YAML 1.1, which other programs' files have.
    @Test(
        "a truth value can have YAML 1.1's words",
        arguments: [("yes", true), ("on", true), ("True", true), ("no", false), ("off", false), ("FALSE", false)])
    func flagsInOtherWords(word: String, value: Bool) throws {
        let file = try ConfigurationFile.parse(
            "services:\n- listeners: 10.0.0.100:80\n  servers: [10.0.0.11]\n  inhibit: \(word)", file: "f")
        #expect(file.services[0].policy.inhibits == value)
    }

    @Test("a service with a bad listener also has its other errors reported")
    func errorsBesideErrors() {
        let errors = Self.errors(
            """
            outer-source-prefix: 10.0.0.0/24
            services:
            - listeners: [10.0.0.100:80800]
              servers: [10.0.0.11]
              checks: [{type: htp}, {type: http, status: 2000, port: 99999}, {type: tcp}]
              notify: nowhere
            - listeners: [10.0.0.100:80]
              servers: [10.0.0.11]
            """)
        for key in ["outer-source-prefix 10.0.0.0/24", "80800", "htp", "2000", "99999", "nowhere"] {
            #expect(errors.count { $0.contains(key) } == 1, "\(key) in \(errors)")
        }
        #expect(errors.count == 6)
    }

    @Test("an expression with another meaning in PCRE2 is noted")
    func expressionsOfAnotherMeaningAreNamed() throws {
        func notes(_ pattern: String) throws -> [String] {
            try ConfigurationFile.parse(
                """
                services:
                - listeners: 10.0.0.100:80
                  servers: [10.0.0.11]
                  checks: [{type: http, path: /up, body-matches: '\(pattern)'}, {type: tcp}]
                """, file: "f"
            ).notes
        }
        #expect(try notes("welcome +back").isEmpty)
        #expect(
            try notes("^ok$") == [
                "10.0.0.100:80/tcp: http:80/up: body-matches ^ok$ is read by PCRE2, as grep -P does, and may mean something else: "
                    + "$ matches before a last LF, too"
            ])
        #expect(try notes("[a[b]]").count == 1)
    }

    @Test("a pattern of too many nested brackets is an error", arguments: [1500, 100_000])
    func nestedBracketsAreAnError(depth: Int) {
        let pattern = String(repeating: "[", count: depth) + "a" + String(repeating: "]", count: depth)
        let errors = Self.errors(
            "services:\n- listeners: 10.0.0.100:80\n  servers: [10.0.0.11]\n"
                + "  checks: [{type: http, body-matches: '\(pattern)'}]")
        #expect(errors.count == 1, "\(errors)")
        #expect(errors.first?.contains("\(depth) nested [, 250 at most") == true, "\(errors)")
    }

    /// Parses a short and a full check of each type.
    @Test(
        "each type of check is read with its options",
        arguments: [
            ("{type: ping}", Check.echo(EchoCheck())), ("{type: tcp}", .tcp(TCPCheck(port: 80))),
            ("{type: tcp, port: 81}", .tcp(TCPCheck(port: 81))), ("{type: http}", .http(HTTPCheck(port: 80))),
            ("{type: https}", .http(HTTPCheck(port: 80, tls: TLSOptions()))),
            (
                "{type: http, method: HEAD, version: '2', headers: {X-A: b}, status: 200-299, body-limit: 9}",
                .http(
                    HTTPCheck(
                        port: 80, method: "HEAD", fields: [HTTPCheck.Field("X-A", "b")], version: .http2,
                        status: [200...299], bodyLimit: 9))
            ),
            ("{type: tls, verify: chain}", .tls(TLSCheck(port: 80, options: TLSOptions(verification: .chain)))),
            ("{type: grpc, service: s}", .grpc(GRPCHealthCheck(port: 80, service: "s"))),
            ("{type: grpc, tls: true}", .grpc(GRPCHealthCheck(port: 80, tls: TLSOptions()))),
            ("{type: smtp, helo: me}", .smtp(SMTPCheck(port: 80, helo: "me"))),
            (
                "{type: udp, port: 9, payload: hi, reply-begins-hex: 00ff}",
                .udp(UDPCheck(port: 9, payload: Array("hi".utf8), reply: .startsWith([0, 255])))
            ),
            ("{type: udp, port: 9, silence: true}", .udp(UDPCheck(port: 9, payload: [], reply: .optional))),
        ])
    func kinds(text: String, check: Check) throws {
        let configuration = try Self.parse(Self.service + "  checks: [\(text)]")
        #expect(configuration[Self.address]?.checks == .listed([ServiceCheck(check)]))
    }

    @Test(
        "a bad value of a policy is an error",
        arguments: [
            ("slow-start: 0.5s", "f:1: slow-start 0.5s: out of range (accepted: 1s to 1h)"),
            ("slow-start: soon", "f:1: slow-start soon: no duration (accepted: 1s to 1h, as in 1s, 700ms, 0.7s, 2m)"),
            (
                "scheduler: fo, slow-start: 9s",
                "f:1: slow-start 9s: fo has no shares that could grow (accepted: with rr, wrr, lc, wlc, sed, nq, sh, mh, twos)"
            ),
            ("flap-damping: 2h", "f:1: flap-damping 2h: out of range (accepted: 1s to 1h)"),
            (
                "quorum: 3",
                "f:1: quorum 3: the quorum, 3, can never be reached (accepted: at most 2 in all, the sum of the real servers' weights)"
            ),
            (
                "quorum: 2, hysteresis: 1",
                "f:1: quorum 2: the quorum, 2, and its hysteresis, 1, can never be reached (accepted: at most 2 in all, the sum of the real servers' weights)"
            ),
            ("quorum: 2, hysteresis: 2", "f:1: hysteresis 2: no hysteresis for a quorum of 2 (accepted: 0 to 1)"),
            ("quorum: 0", "f:1: quorum 0: no sum of weights (accepted: 1 to 999999999)"),
            (
                "sorry-server: 10.0.0.12",
                "f:1: sorry-server 10.0.0.12: 10.0.0.12 is one of the real servers (accepted: another server than these)"
            ),
            (
                "sorry-server: 10.0.0.100",
                "f:1: sorry-server 10.0.0.100: 10.0.0.100 is a VIP (accepted: the sorry server's own address)"
            ),
            (
                "interval: 1s, fast-interval: 2s",
                "f:1: fast-interval 2s: longer than the check interval (accepted: 10ms to the interval, 1s)"
            ),
        ])
    func badPolicies(keys: String, error: String) {
        let file = "services: [{listeners: '10.0.0.100:80', servers: [10.0.0.11, 10.0.0.12], \(keys)}]"
        #expect(Self.errors(file) == [error])
    }

    /// Reads defaults. Slow start holds only for schedulers with shares, and a service may have other values.
    @Test("defaults of policies hold where the service allows them")
    func defaultsOfPolicies() throws {
        let configuration = try Self.parse(
            """
            defaults: {slow-start: 30s, flap-damping: 1m, quorum: 2, hysteresis: 1, servers: [10.0.0.11=4, 10.0.0.12=4]}
            services:
              - {listeners: "10.0.0.100:80", slow-start: off}
              - {listeners: "10.0.0.100:81", scheduler: fo, quorum: 1}
              - {listeners: "10.0.0.100:82", quorum: 1}
            """)
        let policies = configuration.services.map(\.policy)
        #expect(
            policies[0]
                == ServicePolicy(flapDamping: .seconds(60), quorum: Quorum.Rule(required: 2, hysteresis: 1)))
        #expect(policies[2] == ServicePolicy(slowStart: .seconds(30), flapDamping: .seconds(60)))
        #expect(policies[1] == ServicePolicy(flapDamping: .seconds(60)))
    }

    @Test("a service's own interval replaces an inherited faster interval")
    func aFasterIntervalGoesWithItsInterval() throws {
        let configuration = try Self.parse(
            """
            defaults: {interval: 2s, fast-interval: 1s, servers: 10.0.0.11}
            services:
              - {listeners: "10.0.0.100:80"}
              - {listeners: "10.0.0.100:81", interval: 10s}
              - {listeners: "10.0.0.100:82", interval: 10s, fast-interval: 2s}
            """)
        let fast = configuration.services.map { service -> Duration? in
            guard case .policy(let policy) = service.checks else { return nil }
            return policy.fastInterval
        }
        #expect(fast == [.seconds(1), .seconds(3), .seconds(2)])
    }

    @Test("a shorter interval shortens the default time-out")
    func aShorterIntervalShortensAnInheritedTimeout() throws {
        let configuration = try Self.parse(Self.service + "  interval: 0.2s")
        #expect(
            configuration[Self.address]?.checks
                == .policy(
                    CheckPolicy(pace: CheckPace(interval: .milliseconds(200), timeout: .milliseconds(200)))))
    }

    @Test("{server} becomes the real server's address")
    func serversAddressIsFilledIn() throws {
        let server = try #require(IPAddress("10.0.0.11"))
        #expect(
            try Check.file(FileCheck(path: "/w/{server}/{server}")).addressed(to: server)
                == .file(FileCheck(path: "/w/10.0.0.11/10.0.0.11")))
        #expect(
            try Check.script(ScriptCheck(arguments: ["/x", "-{server}"])).addressed(to: server)
                == .script(ScriptCheck(arguments: ["/x", "-10.0.0.11"])))
    }

    @Test("a missing file is an error")
    func aFileThatIsNotThereIsNamed() {
        #expect(throws: ConfigurationErrors.self) { try ConfigurationFile.read("/nonexistent/ipvsd.yaml") }
    }

    @Test("the typed flags are named")
    func flagsBesideAFileAreNamed() {
        var flags = TypedFlags(vips: ["10.0.0.100"])
        (flags[Options.xdp], flags[typed: Options.addresses]) = ("native", true)
        #expect(flags.flags.names == ["--vip", "--xdp", "--no-address"])
        #expect(TypedFlags().flags.names.isEmpty)
    }
}
