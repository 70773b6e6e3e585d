import Addresses
import Foundation
import Netlink
import Testing

@testable import Doctor

/// The faults of a director, one at a time. Some of them are not possible in a network namespace alone.
struct DirectorDiagnosisTests {
    private func healthy() throws -> DirectorFacts {
        var facts = DirectorFacts()
        facts.interfaces = [.init(name: "eth0")]
        facts.servers = [.init(address: try #require(IPAddress("10.0.0.11")))]
        facts.jit = 1
        return facts
    }

    private func faults(_ change: (inout DirectorFacts) throws -> Void) throws -> [Fault] {
        var facts = try healthy()
        try change(&facts)
        return facts.findings().map(\.fault)
    }

    @Test("a healthy director has no findings")
    func healthyIsClean() throws { #expect(try faults { _ in }.isEmpty) }

    @Test("each fault of a director has its name")
    func eachFaultIsNamed() throws {
        let vip = try #require(IPAddress("10.0.0.100"))
        let mac = try #require(MACAddress([2, 0, 0, 0, 0, 1]))
        #expect(try faults { $0.interfaces[0].mode = nil } == [.programNotAttached])
        #expect(try faults { $0.interfaces[0].mode = "generic" } == [.genericXDP])
        #expect(try faults { $0.interfaces[0].merging = ["lro of eth0"] } == [.mergedFrames])
        #expect(try faults { $0.interfaces[0].mergingBelow = ["gro of eth1"] }.isEmpty)
        #expect(try faults { $0.interfaces[0].vrf = "red" } == [.noRoute])
        #expect(try faults { $0.isDaemonRunning = false } == [.daemonMissing])
        #expect(try faults { $0.servers[0].isResolved = false } == [.neighbourUnresolved])
        #expect(try faults { $0.servers[0].interface = nil } == [.noRoute])
        #expect(
            try faults {
                $0.servers[0].interface = nil
                $0.servers[0].isWayKnown = false
                $0.servers[0].downReason = "refused"
            } == [.serverDown])
        #expect(
            try faults {
                $0.vips = [vip]
                $0.servers[0].source = vip
            } == [.outerSourceVIP])
        #expect(
            try faults {
                $0.vips = [vip]
                $0.servers[0].source = IPAddress("10.0.0.2")
            }.isEmpty)
        #expect(try faults { $0.servers[0].downReason = "refused" } == [.serverDown])
        #expect(try faults { $0.vipOwners = [(vip, "eth0", [mac])] } == [.vipConflict])
        #expect(try faults { $0.vipOwners = [(vip, "eth0", [])] }.isEmpty)
        let stray = DirectorFacts.Stray(interface: "eth1", vip: vip, packets: 3, last: "2026-01-01T00:00:00Z")
        #expect(try faults { $0.strays = [stray] } == [.strayPackets])
        #expect(try faults { $0.unwatchedInterfaces = ["eth1"] } == [.strayPackets])
        #expect(try faults { $0.jit = 0 } == [.jitOff])
        #expect(try faults { $0.jit = nil }.isEmpty)
        #expect(try faults { $0.hasBPFFilesystem = false } == [.bpfFilesystem])
        #expect(try faults { $0.lockedMemory = 65_536 }.isEmpty)
        #expect(
            try faults {
                $0.lockedMemory = 65_536
                $0.kernel = (5, 10)
            } == [.lockedMemory])
        #expect(try faults { $0.missingVIPs = [(vip, "eth0")] } == [.vipMissing])
        #expect(try faults { $0.checkPath.devices = ["ipvsd0 is missing"] } == [.checkPathBroken, .fragmentingBroken])
        #expect(try faults { $0.checkPath.missing = ["no egress program is on ipvsd0"] } == [.checkPathBroken])
        #expect(try faults { $0.checkPath.reversePathFilter = 1 } == [.checkPathBroken])
        #expect(try faults { $0.checkPath.reversePathFilter = 0 }.isEmpty)
        #expect(try faults { $0.checkPath.acceptsLocal = false } == [.checkPathBroken, .fragmentingBroken])
        #expect(try faults { $0.checkPath.forwards = false } == [.fragmentingBroken])
        #expect(try faults { $0.missingCapabilities = ["CAP_BPF"] } == [.bpfPrivilege])
    }

    /// The filter sees packets that the kernel forwards or delivers for the director.
    @Test("a packet filter that drops the director's packets is a fault")
    func theOwnFilterIsAskedForEachClassOfPackets() throws {
        let vip = try #require(IPAddress("10.0.0.100"))
        func filtered(_ rules: String) throws -> [Finding] {
            var facts = try healthy()
            facts.vips = [vip]
            facts.firewalls = [Firewall(iptables: "*filter\n\(rules)\nCOMMIT\n")]
            return facts.findings()
        }
        let docker =
            ":FORWARD DROP [0:0]\n-A FORWARD -o docker0 -j ACCEPT\n-A FORWARD -i docker0 -j ACCEPT"
        #expect(try filtered(docker).map(\.fault) == [.fragmentingBroken])
        #expect(try filtered(docker)[0].fix == "iptables -t filter -I FORWARD -i ipvsd0 -j ACCEPT")
        #expect(try filtered(docker + "\n-A FORWARD -i ipvsd0 -j ACCEPT").isEmpty)
        #expect(try filtered(":INPUT ACCEPT [0:0]\n-A INPUT -i ipvsd0 -j DROP").map(\.fault) == [.checkPathBroken])
        #expect(try filtered(":INPUT ACCEPT [0:0]\n-A INPUT -i eth0 -j DROP").isEmpty)
        #expect(
            try filtered(":INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT").isEmpty)
        #expect(
            try filtered(":OUTPUT ACCEPT [0:0]\n-A OUTPUT -p icmp -m icmp --icmp-type 8 -j DROP").map(\.fault)
                == [.checkPathBroken])
    }

    /// The check device also serves fragments.
    @Test("without checks only fragmenting can be broken")
    func withoutChecksNoCheckPathIsBroken() throws {
        let change = { (facts: inout DirectorFacts) in
            facts.checkPath.carriesChecks = false
            facts.checkPath.devices = ["ipvsd1 is down"]
            facts.checkPath.reversePathFilter = 1
        }
        #expect(try faults(change) == [.fragmentingBroken])
    }

    /// A daemon puts a missing piece back by itself.
    @Test("the remedy of a missing piece depends on whether the daemon runs")
    func theFixOfAMissingPieceNamesWhoPutsItBack() throws {
        var facts = try healthy()
        facts.missingVIPs = [(try #require(IPAddress("10.0.0.100")), "eth0")]
        facts.checkPath.forwards = false
        #expect(facts.findings().allSatisfy { $0.fix.contains("every second") })
        #expect(facts.findings()[0].fix.contains("KeepConfiguration=static"))
        facts.isDaemonRunning = false
        let findings = facts.findings()
        #expect(findings.map(\.fault) == [.daemonMissing, .vipMissing, .fragmentingBroken])
        #expect(findings.allSatisfy { $0.fix.contains("start ipvsd with the flags it had") })
        #expect(findings[1].fix.contains("ip addr add 10.0.0.100/32 dev eth0"))
        #expect(findings.allSatisfy { !$0.fix.contains("\n") })
    }

    @Test("a finding has the command that mends it, with the interface and the address")
    func commands() throws {
        let vip = try #require(IPAddress("10.0.0.100"))
        var facts = try healthy()
        facts.isDaemonRunning = false
        facts.vips = [vip]
        facts.checkPath.acceptsLocal = false
        facts.checkPath.reversePathFilter = 1
        facts.servers[0].source = vip
        facts.servers[0].nextHop = IPAddress("10.0.0.1")
        let fixes = Dictionary(facts.findings().map { ($0.fault, $0.fix) }) { first, _ in first }
        #expect(
            fixes[.checkPathBroken]?.contains(
                "sysctl -w net.ipv4.conf.ipvsd0.accept_local=1 net.ipv4.conf.ipvsd0.rp_filter=2") == true)
        #expect(
            fixes[.outerSourceVIP]?.hasPrefix("ip route replace 10.0.0.11 via 10.0.0.1 dev eth0 src ADDRESS") == true)
    }

    @Test("the finding about generic XDP has the reason")
    func theReasonForGenericIsGiven() throws {
        func reason(_ interface: DirectorFacts.Interface) throws -> String {
            var facts = try healthy()
            facts.interfaces = [interface]
            return try #require(facts.findings().first { $0.fault == .genericXDP }).seen
        }
        #expect(try reason(.init(name: "eth0", mode: "generic")).contains("the driver has no native XDP"))
        #expect(try reason(.init(name: "eth0", mtu: 9000, mode: "generic")).contains("9000"))
        #expect(try reason(.init(name: "eth0", kind: "veth", mode: "generic")).contains("was given"))
        #expect(try reason(.init(name: "eth0", mode: "generic", merging: ["lro of eth0"])).contains("lro of eth0"))
    }

    /// The tables of the article have all faults, and no others.
    @Test("the article lists each fault")
    func theArticleListsEveryFault() throws {
        let article = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "../../Sources/ipvsd/ipvsd.docc/DoctorFaults.md")
        let text = try String(contentsOf: article, encoding: .utf8)
        let listed = text.split(separator: "\n").filter { $0.hasPrefix("| `") }.map { line in
            String(line.dropFirst(3).prefix { $0 != "`" })
        }
        #expect(Set(listed) == Set(Fault.allCases.map(\.rawValue)))
        // Real servers and directors may both lack the VIP.
        #expect(listed.count == Fault.allCases.count + 1)
    }
}
