import ConfigurationImport
import Addresses
import HealthChecks
import LoadBalancing
import ServiceConfiguration
import Testing

/// Imports by the rules of keepalived 2.2.7 to 2.4, also where keepalived only warns and goes on.
struct ImportAsKeepalivedTests {
    private typealias Base = ImportKeepalivedTests

    /// Imports a virtual server with one real server, whose block has these lines.
    private func read(_ server: String, service: String = "") throws -> ImportLab.Outcome {
        try ImportLab().read(Base.service(server, service: service))
    }

    private func pace(_ server: String, service: String = "") throws -> CheckPace? {
        let outcome = try read(server, service: service)
        guard case .listed(let checks) = outcome.configuration[address("10.0.0.100:80")]?.checks else { return nil }
        return checks.first?.pace
    }

    // MARK: Keywords and their blocks

    @Test("a keyword has an effect only in its own block")
    func keywordsCountInTheirOwnBlocks() throws {
        #expect(try pace("TCP_CHECK {\n nb_get_retry 3\n }") == Base.pace(60, fast: 1))
        #expect(try pace("HTTP_GET {\n nb_get_retry 3\n url { path / }\n }") == Base.pace(60, fast: 3, fall: 4))
        #expect(try pace("nb_get_retry 3\n TCP_CHECK { }", service: "nb_get_retry 3") == Base.pace(60, fast: 1))
        #expect(
            try pace("MISC_CHECK {\n misc_path /bin/true\n connect_timeout 3\n }")
                == Base.pace(60, fast: 1, timeout: 60, fall: 1))
        #expect(
            try read("weight 3", service: "uthreshold 5").configuration.services[0].servers == [server("10.0.0.11=3")])
    }

    @Test(
        "a keyword of another block is noted, and changes nothing",
        arguments: [
            ("TCP_CHECK {\n nb_get_retry 3\n }", "in:8: note: nb_get_retry 3: no keyword of TCP_CHECK"),
            ("PING_CHECK {\n url { path / }\n }", "in:8: changed: url { … }: no keyword of PING_CHECK"),
            (
                "HTTP_GET {\n url {\n path /\n connect_port 80\n }\n }",
                "in:10: note: connect_port 80: no keyword of url"
            ),
            ("HTTP_GET {\n tls_compliant\n url { path / }\n }", "in:8: note: tls_compliant: no keyword of HTTP_GET"),
            ("TCP_CHECK {\n misc_timeout 3\n }", "in:8: note: misc_timeout 3: no keyword of TCP_CHECK"),
            ("FILE_CHECK {\n retry 3\n track_file x\n }", "in:8: note: retry 3: no keyword of FILE_CHECK"),
            ("nat_mask 255.255.255.0", "in:7: note: nat_mask 255.255.255.0: no keyword of real_server"),
            ("protocol TCP", "in:7: note: protocol TCP: no keyword of real_server"),
            (
                "HTTPS_GET {\n url { path / }\n }",
                "in:7: changed: HTTPS_GET { … }: no keyword of real_server: it is left out"
            ),
            ("weight 3 {\n x\n }", "in:7: changed: weight 3 { … }: no block of real_server"),
            ("WEIGHT 3", "in:7: note: WEIGHT 3: no keyword"),
            ("wei\u{301}ght 3", "in:7: note: wei\u{301}ght 3: no keyword"),
        ]
    )
    func foreignKeywordsAreNamed(lines: String, remark: String) throws {
        let outcome = try read(lines)
        #expect(outcome.remarks.contains { $0.description.hasPrefix(remark) }, "\(outcome.remarks)")
        #expect(outcome.configuration.services[0].servers == [server("10.0.0.11")])
    }

    @Test("unknown keywords and blocks outside of virtual servers get a remark")
    func foreignBlocksBesideVirtualServersAreNamed() throws {
        let outcome = try ImportLab().read(
            "global_defs {\n net_namespace x\n frob\n}\nlocal_address_group L {\n 10.0.0.2\n}\n"
                + Base.service("weight 1"))
        #expect(
            outcome.remarks.prefix(3).map(\.description) == [
                "in:2: note: net_namespace x: no keyword of global_defs: keepalived ignores it, too",
                "in:3: note: frob: no keyword of global_defs: keepalived ignores it, too",
                "in:5: changed: local_address_group L { … }: no keyword of the file: it is left out as a whole; keepalived "
                    + "leaves out local_address_group alone, and takes the lines of its block, and the }, for those of the file",
            ])
    }

    /// Checks the remark on bytes. Without the option utf keepalived searches bytes, and ipvsd characters.
    @Test(
        "an expression beyond ASCII gets a remark, unless it has the option utf",
        arguments: [
            ("regex caf.é", true), ("regex cafe", false), ("regex caf.é\n regex_options utf", false),
            ("regex (*UTF)é", false),
        ])
    func expressionsWithLettersBeyondASCIIChange(lines: String, isNamed: Bool) throws {
        let outcome = try read("HTTP_GET {\n url {\n path /\n \(lines)\n }\n }")
        let named = outcome.remarks.filter { $0.description.contains("changed: regex: with letters beyond ASCII") }
        #expect(named.count == (isNamed ? 1 : 0), "\(outcome.remarks)")
    }

    // MARK: Ports of masqueraded real servers

    @Test(
        "a check of a masqueraded real server's own port goes to the VIP's port",
        arguments: ["TCP_CHECK { }", "TCP_CHECK { connect_port 8080 }"])
    func aMasqueradedServiceIsAskedWhereItWillBe(checker: String) throws {
        let outcome = try ImportLab().read(
            "virtual_server 10.0.0.100 80 {\n protocol TCP\n lvs_method NAT\n real_server 10.0.0.11 8080 {\n \(checker)\n }\n}"
        )
        #expect(
            outcome.configuration[address("10.0.0.100:80")]?.checks
                == .listed([ServiceCheck(.tcp(TCPCheck(port: 80)), pace: Base.pace(60, fast: 1))]))
        #expect(outcome.has("has to listen at port 80, where it was port 8080"))
    }

    @Test("a check of another port of a masqueraded real server goes directly to that port")
    func anotherPortOfAMasqueradedServerStays() throws {
        let outcome = try ImportLab().read(
            "virtual_server 10.0.0.100 80 {\n protocol TCP\n real_server 10.0.0.11 8080 {\n TCP_CHECK { connect_port 9000 }\n }\n}"
        )
        #expect(
            outcome.configuration[address("10.0.0.100:80")]?.checks
                == .listed([ServiceCheck(.tcp(TCPCheck(port: 9000)), via: .direct, pace: Base.pace(60, fast: 1))]))
    }

    @Test("a remark names the port that an any-port service was masqueraded to")
    func thePortBehindAnAnyPortServiceIsNamed() throws {
        let outcome = try ImportLab().read(
            "virtual_server 10.0.0.100 0 {\n protocol TCP\n lvs_method NAT\n real_server 10.0.0.11 81 { }\n}")
        #expect(outcome.has("has to listen at the ports that clients ask for, where it was port 81"))
        #expect(outcome.text.contains("was masqueraded at port 81, not the ports that clients ask for"))
        let rules = try ImportLab().read("-A -t 10.0.0.100:0 -p 300\n-a -t 10.0.0.100:0 -r 10.0.0.11:81 -m\n")
        #expect(rules.has("has to listen at the ports that clients ask for, where it was port 81"))
    }

    // MARK: Zeros, bounds and values that keepalived does not take

    @Test(
        "a value that keepalived ignores is noted, and leaves the default",
        arguments: [
            ("weight 0", Base.pace(60, fast: 1), "0 is no weight for weight (accepted: 1 to 2147483647)"),
            ("connect_timeout 0", Base.pace(60, fast: 1), "0 is no timer for connect_timeout"),
            ("delay_loop 0", Base.pace(60, fast: 1), "0 is no timer for delay_loop (accepted: seconds"),
            ("retry 0", Base.pace(60, fast: 1), "0 is no number of retries for retry (accepted: 1 to"),
            ("retry 3x", Base.pace(60, fast: 1), "3x is no number of retries"),
            ("retry x", Base.pace(60, fast: 1), "x is no number of retries"),
            ("delay_loop x", Base.pace(60, fast: 1), "x is no timer for delay_loop"),
            ("delay_loop -5", Base.pace(60, fast: 1), "-5 is no timer"),
            ("connect_timeout 4295", Base.pace(60, fast: 1), "4295 is no timer"),
            ("lvs_method NATURAL", Base.pace(60, fast: 1), "lvs_method NATURAL (accepted: NAT, DR or TUN)"),
            ("persistence_timeout 0", Base.pace(60, fast: 1), "0 is no number of seconds"),
            ("protocol GRE", Base.pace(60, fast: 1), "protocol GRE (accepted: TCP, UDP or SCTP)"),
            ("quorum 0", Base.pace(60, fast: 1), "0 is no quorum for quorum"),
            ("quorum_up \"/x", Base.pace(60, fast: 1), "a quotation does not end"),
            ("smtp_alert 1", Base.pace(60, fast: 1), "smtp_alert 1: neither yes nor no"),
        ] as [(String, CheckPace, String)]
    )
    func ignoredValues(line: String, pace: CheckPace, note: String) throws {
        let outcome = try read("TCP_CHECK { }", service: line)
        #expect(outcome.isComplete, "\(outcome.remarks)")
        #expect(outcome.has("in:5: note: "))
        #expect(outcome.has(note), "\(outcome.remarks)")
        #expect(outcome.has("keepalived ignores it, too"), "\(outcome.remarks)")
        #expect(outcome.configuration.services[0].servers == [server("10.0.0.11")])
        #expect(outcome.configuration.services[0].forwarding.persistence == nil)
        #expect(try self.pace("TCP_CHECK { }", service: line) == pace)
        #expect(outcome.configuration[address("10.0.0.100:80")]?.policy.quorum == Quorum.Rule())
    }

    @Test("zeros and lenient numbers mean the same as in keepalived")
    func valuesOfRealServersAndCheckers() throws {
        // 0 is a good weight of a real server, and a good number of a checker's retries.
        #expect(try read("weight 0").configuration.services[0].servers == [server("10.0.0.11=0")])
        #expect(try pace("TCP_CHECK { retry 0 }") == Base.pace(60, fast: 1, fall: 1))
        #expect(try pace("retry 0\n TCP_CHECK { }") == Base.pace(60, fast: 1))
        #expect(try pace("TCP_CHECK { connect_port 0 }") == Base.pace(60, fast: 1))
        #expect(try pace("TCP_CHECK { connect_ip nowhere }") == Base.pace(60, fast: 1))
        // Where keepalived is not strict, it ignores text behind digits.
        let lenient = try read("weight 3x")
        #expect(lenient.configuration.services[0].servers == [server("10.0.0.11=3")])
        #expect(lenient.has("note: weight 3x: keepalived takes 3"))
        // keepalived appends six zeros to the text, and reads 5 microseconds.
        #expect(try read("", service: "delay_before_retry 5s").has("keepalived takes 5 microseconds"))
        #expect(
            try pace("TCP_CHECK { }", service: "delay_before_retry 1.5")
                == CheckPace(
                    interval: .seconds(60), fastInterval: .milliseconds(1500), timeout: .seconds(5), rise: 1, fall: 2))
    }

    @Test("blocks that keepalived ignores become notes, and the others services")
    func ignoredBlocks() throws {
        let outcome = try ImportLab().read(
            """
            virtual_server 10.0.0 80 {
                frob
            }
            virtual_server group G {
                real_server 10.0.0.12 80 { }
            }
            virtual_server_group H {
                10.0.0.9-3
            }
            lvs_timeouts tcp
            }
            \(Base.service("MISC_CHECK { }", rest: ""))
            """)
        #expect(outcome.configuration.services.count == 1, "\(outcome.remarks)")
        #expect(outcome.isComplete, "\(outcome.remarks)")
        for text in [
            "in:1: note: 10.0.0 is no address", "in:4: note: there is no virtual_server_group G",
            "in:8: note: 10.0.0.9-3: the end is before the start",
            "in:10: note: lvs_timeouts tcp: no keyword of the file",
            "in:11: note: } without its {", "in:18: note: MISC_CHECK without misc_path",
            "keepalived checks nothing here",
        ] { #expect(outcome.has(text), "\(text): \(outcome.remarks)") }
        let badServers = try ImportLab().read(
            "virtual_server 10.0.0.1 80 {\n lvs_method TUN\n protocol TCP\n real_server 10.0.0.300 80 { }\n"
                + " real_server 10.0.0.2 99999 { }\n real_server 10.0.0.3 80 { }\n}")
        #expect(badServers.configuration.services[0].servers == [server("10.0.0.3")])
        #expect(badServers.isComplete)
        #expect(badServers.has("in:4: note: 10.0.0.300 is no address"))
    }

    @Test("superfluous words are noted, and programs in PATH are run")
    func superfluousWords() throws {
        let outcome = try ImportLab().read(
            """
            virtual_server 10.0.0.100 53 dev eth0 {
                lvs_method TUN
                protocol TCP
                inhibit_on_failure no
                real_server 10.0.0.11 53 {
                    alpha 1
                    MISC_CHECK { misc_path "check_dns 10.0.0.11" }
                    notify_up "logger up"
                }
            }
            """)
        #expect(outcome.isComplete, "\(outcome.remarks)")
        #expect(outcome.has("in:1: note: virtual_server 10.0.0.100 53 dev eth0: keepalived ignores 'dev eth0'"))
        #expect(outcome.has("in:6: note: alpha 1: neither yes nor no"))
        let service = outcome.configuration.services[0]
        // The flag is on with any value.
        #expect(service.policy.inhibits)
        #expect(
            try service.checks
                == .listed([
                    ServiceCheck(
                        .script(
                            ScriptCheck(
                                arguments: ["/bin/sh", "-c", "exec \"$@\" >/dev/null", "sh", "check_dns", "{server}"])),
                        via: .direct, pace: Base.pace(60, fast: 1, timeout: 60, fall: 1))
                ]))
        #expect(outcome.text.contains("exec logger up"))
        #expect(try read("alpha no", service: "alpha 1").has("in:5: changed: alpha"))
        #expect(
            try read("weight 1", service: "sorry_server 127.0.0.1").has(
                "write sorry-server: with such an address, or with that of another host"))
    }

    @Test("a netmask without all of its parts is refused")
    func netmasksWithoutAllTheirPartsAreNoPrefixes() throws {
        let outcome = try read("weight 1", service: "persistence_granularity 24")
        #expect(outcome.has("not carried over: netmask 0.0.0.24"))
        #expect(outcome.configuration.services[0].forwarding.persistence == Persistence(timeout: 360))
    }

    @Test("equal remarks are joined in one, which lists their lines")
    func repeatedRemarks() throws {
        let server = { (last: Int) in "real_server 10.0.0.\(last) 80 {\n warmup 3\n TCP_CHECK { bindto 10.0.0.2 }\n }\n"
        }
        let outcome = try ImportLab().read(
            "virtual_server 10.0.0.100 80 {\n lvs_method TUN\n protocol TCP\n" + (11...20).map(server).joined() + "}\n")
        #expect(outcome.marks == ["5 note", "6 not carried over"])
        #expect(
            outcome.remarks.first?.description
                == "in:5: note: warmup 3: first checks come at once, evenly spread (also 9, 13, 17, 21, 25 and 4 more)")
    }

    // MARK: Repetitions

    @Test("~SEQ and ~LST repeat a line")
    func sequencesAndLists() throws {
        let outcome = try ImportLab().read(
            """
            $LAST=3
            virtual_server 10.0.0.100 80 {
                lvs_method TUN
                protocol TCP
                ~SEQ(n, 1, $LAST) real_server 10.0.0.$n 80 { weight ${n} }
                ~SEQ(n, 9, -4, 1) real_server 10.0.1.$n 80 { }
                ~SEQx(n, 10, 11) real_server 10.0.2.1 80${n} { }
                ~LST({h, w}, {7, 4}, {8}) real_server 10.0.3.$h 80 { weight ${w}2 }
                ~LST(h, 5, 6) real_server 10.0.4.$h 80 { }
                ~SEQ(a, 1, 2) ~SEQ(b, 1, 2) real_server 10.0.5.${a}${b} 80 { }
                ~SEQ(n, 1, 0, 3) real_server 10.0.6.$n 80 { }
                ~SEQ(n, 1 real_server 10.0.6.$n 80 { }
            }
            """)
        #expect(
            outcome.configuration.services[0].servers == [
                server("10.0.0.1=1"), server("10.0.0.2=2"), server("10.0.0.3=3"), server("10.0.1.9"),
                server("10.0.1.5"), server("10.0.1.1"), server("10.0.2.1"), server("10.0.3.7=42"), server("10.0.3.8=2"),
                server("10.0.4.5"),
                server("10.0.4.6"), server("10.0.5.11"), server("10.0.5.12"), server("10.0.5.21"), server("10.0.5.22"),
            ])
        #expect(outcome.has("in:11: note: ~SEQ(n, 1, 0, 3) real_server 10.0.6.$n 80 { }: no sequence"))
        #expect(outcome.has("in:12: note: ~SEQ(n, 1 real_server"))
        #expect(
            ImportLab().errors(Base.service("weight 1", rest: "~SEQ(n, 1, 1000000) x"))
                == ["in:10: too many values (accepted: 65536 at most)"])
    }

    // MARK: Bytes

    @Test("a comment begins at the byte of # or !, whatever follows")
    func commentsBeginAtTheByte() throws {
        // The combining mark stands for bytes of another encoding.
        let outcome = try read("#\u{301} { caf\u{E9}\n weight 3 #\u{FE0F} }\n !\u{20E3} {", service: "#\u{301}{")
        #expect(outcome.configuration.services[0].servers == [server("10.0.0.11=3")])
        #expect(outcome.isComplete)
        var bytes = Array("virtual_server 10.0.0.100 80 {\n lvs_method TUN\n protocol TCP\n ".utf8)
        // In GBK the second byte of a character may be ASCII. 0xCC 0x80 is a combining grave accent in UTF-8.
        bytes += Array("#".utf8) + [0xCC, 0x80, 0xB5, 0x7B, 10] + Array(" real_server 10.0.0.11 80 { }\n}\n".utf8)
        let chinese = try ImportLab().read(String(decoding: bytes, as: UTF8.self))
        #expect(chinese.configuration.services[0].servers == [server("10.0.0.11")])
        #expect(chinese.remarks.count == 1)
        #expect(try read("weight 3 \\#\u{301}").has("keepalived ignores #\u{301}"))
    }

    @Test("only ASCII white space separates words, and only a line feed ends a line")
    func whiteSpaceIsASCII() throws {
        let word = try read("weight\u{A0}3\n weight 4\u{2003}5")
        #expect(word.has("in:7: note: weight\u{A0}3: no keyword of real_server"))
        #expect(word.configuration.services[0].servers == [server("10.0.0.11=4")], "\(word.remarks)")
        // Only line feeds end a line. Carriage returns before them are dropped.
        let lines = try read("weight 3 #\u{2028} weight 4\u{85} weight 5\r\n\tuthreshold\u{B}7\r")
        #expect(lines.configuration.services[0].servers == [server("10.0.0.11=3:7")])
        #expect(
            try ImportLab().read(Base.service("weight 3").split(separator: "\n").joined(separator: "\r\n")).isComplete)
    }

    @Test("a byte order mark is a part of the first word")
    func aByteOrderMarkIsAWord() throws {
        let comment = try ImportLab().read("\u{FEFF}! farm\n" + Base.service("weight 3"))
        #expect(comment.configuration.services[0].servers == [server("10.0.0.11=3")])
        #expect(comment.isComplete)
        #expect(comment.has("in:1: note: a byte order mark"))
        let block = try ImportLab().read("\u{FEFF}global_defs {\n router_id x\n}\n" + Base.service("weight 3"))
        #expect(block.has("global_defs { … }: no keyword of the file"))
        #expect(block.configuration.services.count == 1)
    }

    @Test("values that are not UTF-8 get a remark, and lines with NUL are ignored")
    func otherEncodingsAndNULs() throws {
        let latin =
            "global_defs {\n router_id caf\u{FFFD}\n}\n" + Base.service("weight 3", service: "virtualhost \u{FFFD}")
        let outcome = try ImportLab().read(latin)
        #expect(outcome.has("in:8: not carried over: virtualhost: it is not UTF-8"))
        #expect(outcome.marks == ["1 note", "4 note", "8 not carried over"], "\(outcome.remarks)")
        #expect(try read("weight 3\n weight 4\0").configuration.services[0].servers == [server("10.0.0.11=3")])
    }

    @Test("definitions are inserted only where keepalived inserts them")
    func definitionsAreReplacedWhereKeepalivedDoes() throws {
        let outcome = try ImportLab().read(
            """
            $W=7
            $TWO=weight 4 \\
                uthreshold 9
            virtual_server 10.0.0.100 80 {
                lvs_method TUN
                protocol TCP
                virtualhost a${_HASH}b
                real_server 10.0.0.11 80 {
                    weight $W\u{301}
                    weight $W
                    $TWO x
                    $TWO
                }
            }
            """)
        #expect(outcome.configuration.services[0].servers == [server("10.0.0.11=4:9")], "\(outcome.remarks)")
        #expect(outcome.has("note: $TWO x: no keyword of real_server"))
        #expect(outcome.has("note: weight $W\u{301}: keepalived takes 0"))
    }
}
