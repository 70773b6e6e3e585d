import LoadBalancing
import ServiceConfiguration
import Testing

@testable import ConfigurationImport

/// Imports of ipvsadm's rules: services and remarks.
struct ImportRulesTests {
    @Test("the rules of tunnelled services become the same services")
    func supportedRules() throws {
        let outcome = try ImportLab().read(ImportFixtures.rules)
        #expect(
            outcome.configuration.services.map(\.forwarding) == [
                VirtualService(
                    address: address("10.0.0.100:80"), scheduler: .wlc,
                    persistence: Persistence(timeout: 300, prefixLength: 24),
                    servers: [server("10.0.0.11=3"), server("10.0.0.12=0")]),
                VirtualService(
                    address: address("10.0.0.100:443"), scheduler: .sh, flags: [.shFallback, .shPort],
                    servers: [server("10.0.0.11"), server("10.0.0.12")]),
                VirtualService(
                    address: address("10.0.0.101"), scheduler: .rr, persistence: Persistence(timeout: 360),
                    servers: [server("10.0.0.11")]),
                VirtualService(
                    address: address("10.0.0.100:53/udp"), scheduler: .mh, flags: [.mhFallback, .mhPort],
                    isOnePacket: true, servers: [server("10.0.0.11=2")]),
            ])
        #expect(outcome.marks == ["11 note"])
        #expect(outcome.isComplete)
        #expect(outcome.configuration[address("10.0.0.100:80")]?.checks == .policy(CheckPolicy()))
        #expect(outcome.configuration.managesAddress)
    }

    @Test("the printed file has comments where they belong")
    func theTextIsWhatAnOperatorReads() throws {
        let outcome = try ImportLab().read(
            """
            -A -t 10.0.0.100:80 -s wlc
            -a -t 10.0.0.100:80 -r 10.0.0.11:80 -i -w 3
            -a -t 10.0.0.100:80 -r 10.0.0.12:8080 -m -x 500 -y 400
            -a -t 10.0.0.100:80 -r [2001:db8::1]:80 -i
            """)
        #expect(
            outcome.text == """
                # Made by 'ipvsd import' of ipvsadm's rules in in.
                # IPVS checks no real servers; ipvsd does, through the tunnel to the VIP (check: auto; none for as it was).
                # What 'ipvsadm -S' does not print is not here: thresholds (ipvsadm -L --thresholds), time-outs (-L
                #   --timeout), synchronisation (-L --daemon).

                services:

                  # line 1: -t 10.0.0.100:80
                  # line 4: not carried over: real server [2001:db8::1]:80: ipvsd's tunnels are IPv4's
                  - listeners: 10.0.0.100:80/tcp
                    scheduler: wlc
                    check: auto
                    servers:
                      - 10.0.0.11=3
                      - 10.0.0.12=1:500/400  # was masqueraded at port 8080, not port 80: needs realserver-setup

                """)
        #expect(
            outcome.remarks.first?.description
                == "in:3: changed: -m (masquerading) becomes the IPIP tunnel: run 'ipvsd realserver-setup --vip "
                + "10.0.0.100' on 10.0.0.12; the service there has to listen at port 80, where it was port 8080, and its "
                + "answers go to clients directly, no longer by the director")
        #expect(!outcome.isComplete)
        #expect(try ImportLab().read(ImportFixtures.rules).text == ImportLab().read(ImportFixtures.rules).text)
    }

    @Test("each unsupported rule gets a remark")
    func unsupportedRules() throws {
        let outcome = try ImportLab().read(ImportFixtures.foreignRules)
        #expect(
            outcome.marks == [
                "2 changed", "3 changed", "4 changed", "5 not carried over", "6 not carried over", "7 changed",
                "7 not carried over", "7 not carried over", "8 changed", "9 not carried over", "10 not carried over",
                "12 not carried over", "14 not carried over", "15 changed", "15 note", "17 not carried over",
                "18 not carried over",
            ])
        let services = outcome.configuration.services
        #expect(
            services.map(\.address.description) == ["10.0.0.100:80/tcp", "10.0.0.100:5060/tcp", "10.0.0.102:80/tcp"])
        #expect(services[0].servers == [server("10.0.0.13"), server("10.0.0.14"), server("10.0.0.15")])
        #expect(services[1].forwarding.persistence == Persistence(timeout: 8796))
        #expect(services[1].servers == [server("10.0.0.11=65535")])
        #expect(services[2].forwarding.scheduler == .wlc)
        // The file has the remark, too.
        for remark in outcome.remarks where remark.kind == .left {
            let line = remark.place.split(separator: ":").last ?? ""
            #expect(outcome.text.contains("line \(line): not carried over: "), "\(remark)")
        }
    }

    @Test("a firewall mark gets the listeners that the operator names")
    func aMarkIsWhatItIsSaidToBe() throws {
        let rules = "-A -f 3 -s rr -p 60\n-a -f 3 -r 10.0.0.11:0 -i\n"
        let listeners = [address("10.0.0.100:80"), address("10.0.0.100:443")]
        let outcome = try ImportLab(marks: [3: listeners]).read(rules)
        #expect(outcome.configuration.services.map(\.listeners) == [listeners])
        #expect(outcome.isComplete)
        #expect(
            ImportLab(marks: [4: listeners]).errors(rules)
                == ["--fwmark 4: no service of in has this mark (accepted: 3)"])
        let without = try ImportLab().source.read(rules, name: "in")
        #expect(without.text == nil)
        #expect(!without.isComplete)
        #expect(without.remarks.map(\.description).joined().contains("--fwmark 3="))
    }

    @Test("names of hosts and ports are resolved, and noted")
    func namesArePortsAndAddressesOfHere() throws {
        let outcome = try ImportLab().read(
            "-A -t www.example.org:http -s rr\n-a -t www.example.org:http -r rs1:http -i -w 1 --tun-type ipip\n")
        #expect(
            outcome.configuration.services.map(\.forwarding) == [
                VirtualService(address: address("10.0.0.100:80"), scheduler: .rr, servers: [server("10.0.0.11")])
            ])
        #expect(outcome.isComplete)
        #expect(outcome.marks == ["1 note", "2 note"])
        let errors = ImportLab().errors("-A -t nowhere.example.org:80 -s rr\n-A -t 10.0.0.1:gopher -s rr")
        #expect(errors.count == 2)
        #expect(errors.first?.hasPrefix("in:1: no IPv4 address of nowhere.example.org") == true)
        #expect(errors.last?.hasPrefix("in:2: no tcp port is called gopher") == true)
    }

    @Test("an any-port service of one protocol takes both")
    func anyPortOfOneProtocolBecomesThatOfBoth() throws {
        let one = "-A -t 10.0.0.101:0 -s rr -p 360\n-a -t 10.0.0.101:0 -r 10.0.0.11 -i\n"
        let outcome = try ImportLab().read(one)
        #expect(outcome.configuration.services.map(\.address) == [address("10.0.0.101")])
        #expect(outcome.marks == ["1 changed"])
        let other = "-A -u 10.0.0.101 -s wlc -p\n-a -u 10.0.0.101 -r 10.0.0.11 -i\n"
        let differing = try ImportLab().read(one + other)
        #expect(differing.configuration.services.count == 1)
        #expect(differing.has("in:3: not carried over: -u 10.0.0.101: 10.0.0.101 belongs to the service of in:1"))
    }

    @Test("later commands change the services of earlier ones")
    func laterCommandsChangeEarlierOnes() throws {
        let outcome = try ImportLab().read(
            """
            # made by hand
            ipvsadm -A -t 10.0.0.9:80
            /sbin/ipvsadm -C
            ipvsadm -At 10.0.0.100:80 -s=rr -p
            ipvsadm -at 10.0.0.100:80 -r10.0.0.11 -i
            ipvsadm --add-server --tcp-service=10.0.0.100:80 --real-server 10.0.0.12 --ipip --weight=5
            ipvsadm -a -t 10.0.0.100:80 -r 10.0.0.13 -i
            ipvsadm -e -t 10.0.0.100:80 -r 10.0.0.12 -i -w 7 --u-threshold 10
            ipvsadm -d -t 10.0.0.100:80 -r 10.0.0.13
            ipvsadm -A -u 10.0.0.100:53 -s sh ops
            ipvsadm -a -u 10.0.0.100:53 -r 10.0.0.11 -i
            ipvsadm -E -u 10.0.0.100:53 -s wrr -o
            ipvsadm -A -t 10.0.0.8:80
            ipvsadm -D -t 10.0.0.8:80
            ipvsadm -Z
            ipvsadm --set 1800 0 9000
            """)
        #expect(
            outcome.configuration.services.map(\.forwarding) == [
                VirtualService(
                    address: address("10.0.0.100:80"), scheduler: .rr, persistence: Persistence(timeout: 360),
                    servers: [server("10.0.0.11"), server("10.0.0.12=7:10")]),
                VirtualService(
                    address: address("10.0.0.100:53/udp"), scheduler: .wrr, isOnePacket: true,
                    servers: [server("10.0.0.11")]),
            ])
        #expect(outcome.configuration.timeouts.tcp == 1800)
        #expect(outcome.configuration.timeouts.tcpFin == 120)
        #expect(outcome.configuration.timeouts.udp == 8796)
        #expect(outcome.marks == ["16 changed"])
    }

    @Test(
        "an error names the line and the accepted values",
        arguments: [
            ("-A -t 10.0.0.256:80", "in:1: 10.0.0.256 is no address"),
            ("-A -t 10.0.0.1:70000", "in:1: port 70000 is no port"),
            ("-A -t", "in:1: -t without its value"),
            ("-A -q x", "in:1: unknown option -q"),
            ("-A --wait", "in:1: unknown option --wait"),
            ("-t 10.0.0.1:80 -A", "in:1: -t before the command"),
            ("-A -C", "in:1: -C: a second command"),
            ("-L -n", "in:1: -L is no rule"),
            ("-A -t 10.0.0.1:80\n-A -t 10.0.0.1:80", "in:2: the service is there already, since in:1"),
            ("-a -t 10.0.0.1:80 -r 10.0.0.2", "in:1: there is no such service"),
            ("-A -t 10.0.0.1:80\n-a -t 10.0.0.1:80", "in:2: no real server"),
            ("-A -t 10.0.0.1:80\n-a -t 10.0.0.1:80 -r 10.0.0.2 -w -1", "in:2: -1 is no weight"),
            ("-A -t 10.0.0.1:80 -p 99999999", "in:1: 99999999 is no number of seconds (accepted: 0 to 2678400)"),
            ("-A -f 0", "in:1: 0 is no firewall mark"),
            ("-A", "in:1: no service"),
            ("--set 1 2", "in:1: --set takes three numbers"),
            ("-A -t 10.0.0.1:80 garbage", "in:1: unexpected garbage"),
            ("", "in: there is nothing in it"),
            ("# nothing\n\n", "in: there is nothing in it"),
            ("hello world\n", "in:1: neither a rule of ipvsadm nor a block of keepalived"),
            ("IP Virtual Server version 1.2.1 (size=4096) {", "in:1: this is what 'ipvsadm -L' prints"),
        ])
    func errorsNameLineAndWhatWasExpected(text: String, error: String) {
        let errors = ImportLab().errors(text)
        #expect(errors.first?.hasPrefix(error) == true, "\(errors)")
        #expect(errors.allSatisfy { $0.contains(" (accepted: ") })
    }

    @Test("all errors are reported together")
    func everyErrorIsToldAtOnce() {
        #expect(ImportLab().errors("-A -t 10.0.0.1:x\n-Q\n-A -t 10.0.0.2:80 -p x").count == 3)
    }

    @Test("a repeated real server and one at a VIP are left out")
    func serversThatCannotBeAreLeftOut() throws {
        let outcome = try ImportLab().read(
            """
            -A -t 10.0.0.100:80 -s rr
            -a -t 10.0.0.100:80 -r 10.0.0.11:8080 -m
            -a -t 10.0.0.100:80 -r 10.0.0.11:8081 -m
            -a -t 10.0.0.100:80 -r 10.0.0.101:80 -i
            -A -t 10.0.0.101:80 -s rr
            -a -t 10.0.0.101:80 -r 10.0.0.12:80 -i
            """)
        #expect(outcome.configuration.services.map { $0.servers.count } == [1, 1])
        #expect(outcome.has("in:3: not carried over: real server 10.0.0.11: it is there already"))
        #expect(outcome.has("in:4: not carried over: real server 10.0.0.101: it is a VIP"))
    }

    @Test("a remark is one line without control characters")
    func quotedText() {
        let remark = ImportRemark(kind: .note, place: "f:1", text: "quorum \"\n\u{1B}[2J\"")
        #expect("\(remark)" == #"f:1: note: quorum "\n\u001b[2J""#)
    }
}
