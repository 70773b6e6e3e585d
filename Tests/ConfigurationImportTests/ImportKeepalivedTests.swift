import ConfigurationImport
import Addresses
import HealthChecks
import LoadBalancing
import ServiceConfiguration
import Testing

/// Imports of a keepalived.conf: services, checks and remarks.
struct ImportKeepalivedTests {
    /// Returns the checks of a virtual server with one real server and this checker.
    static func checks(_ checker: String, service: String = "") throws -> ServiceChecks {
        let outcome = try ImportLab().read(Self.service(checker, service: service))
        return outcome.configuration.services[0].checks
    }

    static func service(_ checker: String, service: String = "", rest: String = "") -> String {
        """
        virtual_server 10.0.0.100 80 {
            lvs_sched rr
            lvs_method TUN
            protocol TCP
            \(service)
            real_server 10.0.0.11 80 {
                \(checker)
            }
        }
        \(rest)
        """
    }

    static func pace(
        _ interval: Int, fast: Int, timeout: Int = 5, fall: Int = 2
    ) -> CheckPace {
        CheckPace(
            interval: .seconds(interval), fastInterval: .seconds(fast), timeout: .seconds(timeout), rise: 1, fall: fall)
    }

    @Test("a whole keepalived.conf becomes services, checks, quorum and notification")
    func aFarmIsCarriedOver() throws {
        let outcome = try ImportLab().read(ImportFixtures.farm)
        let web = address("10.0.0.100:80")
        let dns = address("10.0.0.104:53/udp")
        #expect(
            outcome.configuration.services.map(\.forwarding) == [
                VirtualService(
                    address: web, scheduler: .wrr,
                    otherAddresses: [address("10.0.0.101:443"), address("10.0.0.102:443")],
                    servers: [server("10.0.0.11=3"), server("10.0.0.12")]),
                VirtualService(
                    address: dns, scheduler: .sh, flags: [.shPort],
                    persistence: Persistence(timeout: 50, prefixLength: 16),
                    isOnePacket: true, servers: [server("10.0.0.21=1:1000/800")]),
            ])
        #expect(
            outcome.configuration[web]?.policy
                == ServicePolicy(
                    inhibits: true, quorum: Quorum.Rule(required: 2, hysteresis: 1),
                    sorryServer: IPAddress("10.0.0.99")))
        let http = Self.pace(6, fast: 3, timeout: 3, fall: 3)
        #expect(
            try outcome.configuration[web]?.checks
                == .listed([
                    ServiceCheck(
                        .http(
                            HTTPCheck(
                                port: 80, path: "/health", host: "www.example.org", status: [200...200, 204...204])),
                        pace: http),
                    ServiceCheck(
                        .http(
                            HTTPCheck(
                                port: 80, path: "/login", host: "www.example.org", status: [200...299],
                                body: [.matches(Pattern("(?i)welcome +back"))])), pace: http),
                    ServiceCheck(
                        .script(
                            ScriptCheck(
                                arguments: Self.silent + ["/usr/lib/lvs/load", "{server}", "-x", "{server}:80"])),
                        via: .direct, pace: Self.pace(6, fast: 1, timeout: 4, fall: 1)),
                ]))
        #expect(
            try outcome.configuration[dns]?.checks
                == .listed([
                    ServiceCheck(
                        .dns(DNSCheck(question: DNSQuestion(name: "www.example.org", type: DNSRecordType(code: 1)))),
                        pace: Self.pace(60, fast: 60, fall: 4)),
                    ServiceCheck(.echo(EchoCheck()), pace: Self.pace(60, fast: 1, fall: 5)),
                ]))
        #expect(outcome.configuration.timeouts.tcp == 1800)
        #expect(outcome.configuration.timeouts.tcpFin == 60)
        #expect(outcome.configuration.timeouts.udp == 120)
        #expect(outcome.isComplete)
        #expect(outcome.marks == ["2 note", "11 note"])
        #expect(outcome.configuration[dns]?.notification == nil)
        #expect(outcome.configuration[web]?.notification?.timeout == .seconds(60))
        #expect(outcome.configuration[web]?.notification?.tellsAtStart == true)
        #expect(outcome.configuration.managesAddress)
    }

    @Test("each unsupported line gets a remark")
    func unsupportedLines() throws {
        let outcome = try ImportLab().read(ImportFixtures.foreignKeepalived)
        #expect(
            outcome.marks == [
                "1 note", "2 not carried over", "7 not carried over", "8 note",
                "10 not carried over", "17 note", "19 not carried over", "21 changed", "24 changed", "25 changed",
                "26 changed", "27 not carried over", "28 note", "32 not carried over", "35 changed",
                "36 changed", "38 not carried over", "40 not carried over", "44 not carried over",
                "48 not carried over",
            ])
        let service = try #require(outcome.configuration.services.first)
        #expect(outcome.configuration.services.count == 1)
        #expect(service.servers == [server("10.0.0.11"), server("10.0.0.12")])
        // VRRP has the VIP.
        #expect(!outcome.configuration.managesAddress)
        // Checks of masqueraded real servers go to the VIP's port.
        #expect(
            service.checks
                == .listed([ServiceCheck(.tcp(TCPCheck(port: 80)), pace: Self.pace(60, fast: 1))]))
    }

    private static let vrrp = "vrrp_instance V {\n virtual_ipaddress {\n 10.0.0.7/24\n }\n}\n"

    /// Checks the owner of VIPs that ipvsd does not add to the director.
    @Test(
        "VIPs of VRRP or of a quorum program are left to it",
        arguments: [
            (vrrp, "", "10.0.0.100: keepalived's vrrp_instance V does not have it, but implies a second director"),
            (
                "", "quorum_up \"/sbin/ip addr add 10.0.0.100/32 dev lo\"",
                "/sbin/ip names the VIP: ipvsd leaves the VIP to it"
            ),
            ("", "quorum_down \"/bin/sh -c 'vip down 10.0.0.100'\"", "/bin/sh names the VIP"),
            (vrrp, "quorum_up \"/sbin/ip addr add 10.0.0.100/32 dev lo\"", "/sbin/ip names the VIP"),
        ])
    func vipsOfOthersAreLeftToThem(before: String, line: String, remark: String) throws {
        let outcome = try ImportLab().read(before + Self.service("weight 1", service: line))
        #expect(!outcome.configuration.managesAddress)
        #expect(!outcome.isComplete)
        #expect(outcome.has("changed: \(remark)"), "\(outcome.remarks)")
    }

    @Test("a quorum program that does not name the VIP gets a remark")
    func programsThatDoNotNameTheVIPAreNamed() throws {
        let outcome = try ImportLab().read(
            Self.service(
                "weight 1",
                service: "quorum_up \"/usr/bin/bgp 10.0.0.1001\"\n quorum_down \"/usr/bin/logger 10.0.0.100\""))
        #expect(outcome.configuration.managesAddress)
        #expect(outcome.marks == ["1 note", "5 changed"])
        #expect(outcome.has("/usr/bin/bgp: ipvsd has the VIP on the director while it runs, whatever the quorum is"))
    }

    @Test("checkers without values have keepalived's defaults")
    func defaultsAreKeepaliveds() throws {
        #expect(
            try Self.checks("TCP_CHECK { }")
                == .listed([ServiceCheck(.tcp(TCPCheck(port: 80)), pace: Self.pace(60, fast: 1))]))
        #expect(
            try Self.checks("HTTP_GET { url { path / } }")
                == .listed([
                    ServiceCheck(
                        .http(HTTPCheck(port: 80, status: [200...299])), pace: Self.pace(60, fast: 3))
                ]))
        #expect(
            try Self.checks("SMTP_CHECK { connect_port 25 }")
                == .listed([
                    ServiceCheck(
                        .smtp(SMTPCheck(port: 25, helo: "smtpchecker.keepalived.org")), via: .direct,
                        pace: Self.pace(60, fast: 1))
                ]))
        #expect(
            try Self.checks("MISC_CHECK { misc_path /bin/true }", service: "delay_loop 7")
                == .listed([
                    ServiceCheck(
                        .script(ScriptCheck(arguments: Self.silent + ["/bin/true"])), via: .direct,
                        pace: Self.pace(7, fast: 1, timeout: 7, fall: 1))
                ]))
        #expect(
            try Self.checks("DNS_CHECK { connect_port 53 }")
                == .listed([
                    ServiceCheck(
                        .dns(DNSCheck(question: DNSQuestion(name: ".", type: DNSRecordType(code: 6)))), via: .direct,
                        pace: Self.pace(60, fast: 60, fall: 4))
                ]))
        #expect(
            try Self.checks("UDP_CHECK { connect_port 53 }")
                == .listed([
                    ServiceCheck(
                        .udp(UDPCheck(port: 53, payload: [], reply: .optional)), via: .direct,
                        pace: Self.pace(60, fast: 1))
                ]))
        // Without checkers there are no checks.
        #expect(try Self.checks("weight 1") == .policy(CheckPolicy(kind: .none)))
        #expect(try Self.checks("BFD_CHECK { name x }") == .policy(CheckPolicy()))
    }

    @Test("the values of checkers become options of checks")
    func optionsOfCheckers() throws {
        #expect(
            try Self.checks(
                """
                SSL_GET {
                    url {
                        path /a?b=c
                        virtualhost one.example.org
                    }
                    virtualhost two.example.org
                    enable_sni
                }
                """, service: "virtualhost three.example.org")
                == .listed([
                    ServiceCheck(
                        .http(
                            HTTPCheck(
                                port: 80, path: "/a?b=c", host: "one.example.org",
                                tls: TLSOptions(serverName: "one.example.org"), status: [200...299])),
                        pace: Self.pace(60, fast: 3))
                ]))
        #expect(
            try Self.checks("UDP_CHECK {\n connect_port 53\n payload Ab1 2f\n require_reply 00 01\n}")
                == .listed([
                    ServiceCheck(
                        .udp(UDPCheck(port: 53, payload: [0xAB, 0x01, 0x2F], reply: .startsWith([0, 1]))),
                        via: .direct, pace: Self.pace(60, fast: 1))
                ]))
        // A check of the VIP goes through the tunnel.
        #expect(
            try Self.checks("TCP_CHECK {\n connect_ip 10.0.0.100\n connect_port 8443\n}")
                == .listed([ServiceCheck(.tcp(TCPCheck(port: 8443)), pace: Self.pace(60, fast: 1))]))
        #expect(try Self.checks("TCP_CHECK { connect_ip 10.0.0.7 }") == .policy(CheckPolicy()))
    }

    @Test("a checker's value outranks its real server's and its virtual server's")
    func theNearestWordCounts() throws {
        let checks = try Self.checks(
            "delay_loop 3\n TCP_CHECK { retry 7 }",
            service: "delay_loop 9\n connect_timeout 2\n retry 5\n delay_before_retry 0.25")
        let pace = CheckPace(
            interval: .seconds(3), fastInterval: .milliseconds(250), timeout: .seconds(2), rise: 1, fall: 8)
        #expect(checks == .listed([ServiceCheck(.tcp(TCPCheck(port: 80)), pace: pace)]))
        // A virtual server's value also holds if it follows the real server.
        let later = try ImportLab().read(
            """
            virtual_server 10.0.0.100 80 {
                real_server 10.0.0.11 80 {
                    TCP_CHECK { }
                }
                delay_loop 7
                weight 4
                protocol TCP
                lvs_method TUN
            }
            """)
        #expect(later.configuration.services[0].servers == [server("10.0.0.11=4")])
        #expect(
            later.configuration[address("10.0.0.100:80")]?.checks
                == .listed([ServiceCheck(.tcp(TCPCheck(port: 80)), pace: Self.pace(7, fast: 1))]))
    }

    @Test("a time-out longer than delay_loop lengthens the interval")
    func aTimeOutLongerThanTheLoopIsKept() throws {
        let outcome = try ImportLab().read(Self.service("TCP_CHECK { }", service: "delay_loop 2"))
        #expect(
            outcome.configuration[address("10.0.0.100:80")]?.checks
                == .listed([ServiceCheck(.tcp(TCPCheck(port: 80)), pace: Self.pace(5, fast: 1))]))
        #expect(outcome.has("note: TCP_CHECK: checks come every 5s"))
        let long = try ImportLab().read(Self.service("TCP_CHECK { }", service: "delay_loop 7200\n retry 200"))
        #expect(long.has("delay_loop 2h becomes 1h"))
        #expect(long.has("retry 200 becomes 99"))
        #expect(!long.isComplete)
    }

    @Test("the checks of most real servers become those of all")
    func oneListOfChecksIsOfAll() throws {
        func realServer(_ last: Int, _ port: Int) -> String {
            "real_server 10.0.0.\(last) 80 {\n TCP_CHECK { connect_port \(port) }\n }\n"
        }
        let outcome = try ImportLab().read(
            "virtual_server 10.0.0.100 80 {\n lvs_method TUN\n protocol TCP\n"
                + realServer(11, 81) + realServer(12, 80) + realServer(13, 80) + "}\n")
        #expect(
            outcome.configuration[address("10.0.0.100:80")]?.checks
                == .listed([ServiceCheck(.tcp(TCPCheck(port: 80)), pace: Self.pace(60, fast: 1))]))
        #expect(outcome.marks == ["4 changed"])
        #expect(outcome.has("its checks are not those of 10.0.0.12 (in:7)"))
    }

    /// The shell around each program. It drops the output, which would be a weight.
    private static let silent = ["/bin/sh", "-c", "exec \"$@\" >/dev/null", "sh"]

    @Test("a quorum that the weights cannot reach is lowered")
    func quorumsThatCannotBeAreLowered() throws {
        let outcome = try ImportLab().read(
            Self.service("weight 3", service: "quorum 7\n hysteresis 9"))
        #expect(
            outcome.configuration[address("10.0.0.100:80")]?.policy.quorum == Quorum.Rule(required: 3, hysteresis: 0)
        )
        #expect(outcome.has("note: quorum 7, hysteresis 9: 3 and 0"))
    }

    @Test("a virtual_server_group becomes the listeners of one service")
    func groupsMarksAndProtocols() throws {
        let group = """
            virtual_server group G {
                lvs_method TUN
                real_server 10.0.0.50 { }
            }
            virtual_server_group G {
                10.0.0.8/30 53
                10.0.0.20-10.0.0.21 0
                fwmark 5
                2001:db8::1 80
            }
            """
        let outcome = try ImportLab(marks: [5: [address("10.0.0.30:80")]]).read(group)
        #expect(
            outcome.configuration.services[0].listeners.map(\.description) == [
                "10.0.0.8:53/udp", "10.0.0.9:53/udp", "10.0.0.10:53/udp", "10.0.0.11:53/udp", "10.0.0.20", "10.0.0.21",
                "10.0.0.30:80/tcp",
            ])
        #expect(outcome.configuration.services[0].forwarding.persistence == Persistence(timeout: 360))
        #expect(outcome.has("in:9: not carried over: 2001:db8::1: ipvsd balances IPv4 only"))
        #expect(outcome.has("no protocol: UDP, as keepalived takes it"))
    }

    @Test("@ID lines count for their configuration id only")
    func linesAreForAConfigurationId() throws {
        let text = Self.service("@a weight 3\n@^a weight 4\nTCP_CHECK { }")
        #expect(try ImportLab(id: "a").read(text).configuration.services[0].servers == [server("10.0.0.11=3")])
        #expect(try ImportLab(id: "b").read(text).configuration.services[0].servers == [server("10.0.0.11=4")])
        let unknown = try ImportLab().read(text)
        #expect(unknown.configuration.services[0].servers == [server("10.0.0.11")])
        #expect(unknown.marks == ["7 not carried over", "8 not carried over"])
    }

    @Test("definitions are inserted, and endless ones are an error")
    func definitionsAreFilledIn() throws {
        let outcome = try ImportLab().read(
            """
            $NET=10.0.${SUB}
            $SUB=7
            $RS= \\
                real_server ${NET}.${N} 80 { \\
                    weight ${N} \\
                }
            virtual_server ${NET}.100 80 {
                lvs_method TUN
                protocol TCP
                virtualhost $UNKNOWN
                $N=11
                $RS
                $N=12
                $RS
            }
            """)
        #expect(outcome.configuration.services[0].address == address("10.0.7.100:80"))
        #expect(outcome.configuration.services[0].servers == [server("10.0.7.11=11"), server("10.0.7.12=12")])
        #expect(
            ImportLab().errors("$A=${A}${A}x\nvirtual_server ${A} 80 {\n}\n").first?
                .hasPrefix("in:2: definitions that grow without end") == true)
    }

    @Test("include reads files by path and pattern")
    func filesAreIncluded() throws {
        let files = [
            "./conf.d/a.conf": "include b.inc\n", "./conf.d/b.inc": Self.service("TCP_CHECK { }"),
            "./conf.d/c.conf":
                "virtual_server 10.0.0.101 80 {\n frob\n lvs_method TUN\n real_server 10.0.0.11 80 { }\n}\n",
        ]
        let outcome = try ImportLab(files: files).read("include conf.d/*.conf\nincludea other/*.conf\n")
        #expect(outcome.configuration.services.count == 2)
        #expect(outcome.has("./conf.d/c.conf:2: note: frob"))
        #expect(outcome.text.contains("# ./conf.d/b.inc:1: virtual_server 10.0.0.100 80"))
        #expect(outcome.has("in:2: note: include other/*.conf: there is no such file"))
        let missing = try ImportLab().read("include x.inc\n" + Self.service("weight 1"))
        #expect(missing.has("in:1: not carried over: include x.inc: there is no such file here"))
        #expect(
            ImportLab().errors("includer x.inc\n").first
                == "in:1: include x.inc: there is no such file (accepted: a file's path)")
        let circle = ImportLab(files: ["./a": "include a\n"]).errors("include a\n")
        #expect(circle.first?.hasPrefix("./a:1: files that include each other") == true)
    }

    @Test(
        "an error names the line and the accepted values",
        arguments: [
            ("virtual_server 10.0.0.1 80 {\n delay_loop 6\n", "in:1: the block of virtual_server does not end"),
            ("{\n}\n", "in:1: neither a rule"),
            ("virtual_server 10.0.0.1 80 {\n { }\n}\n", "in:2: { without a keyword"),
            ("virtual_server 10.0.0.1 80 {\n delay_loop\n}\n", "in:2: delay_loop without its value"),
            ("virtual_server fwmark {\n}\n", "in:1: virtual_server fwmark without its value"),
            ("virtual_server 10.0.0.1 80 {\n real_server 10.0.0.2 80\n}\n", "in:2: real_server without its block"),
            ("include x.inc\nvirtual_server {\n}\n", "in:2: virtual_server without its value"),
        ])
    func errorsNameLineAndWhatWasExpected(text: String, error: String) {
        let errors = ImportLab().errors(text)
        #expect(errors.first?.hasPrefix(error) == true, "\(errors)")
        #expect(errors.allSatisfy { $0.contains(" (accepted: ") })
    }
}
