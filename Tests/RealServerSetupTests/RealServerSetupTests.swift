import Addresses
import Glibc
import HostState
import Netlink
import SystemCalls
import Testing

@testable import RealServerSetup

/// Set-ups in a network namespace. Each body is an exit test, which enters a new namespace in a process of its own.
struct RealServerSetupTests {
    @Test("a set-up is applied once and undone")
    func appliesOnceAndUndoes() async {
        await #expect(processExitsWith: .success) {
            let host = try Host()
            let before = try host.snapshot()
            let vip = try address("10.0.0.100")
            let setup = RealServerSetup(vips: [vip, vip])

            try setup.apply { _ in }
            let tunnel = try #require(try host.socket.link(named: "tunl0"))
            #expect(tunnel.isUp)
            #expect(
                try host.socket.addresses().contains(
                    InterfaceAddress(interface: tunnel.index, address: vip, prefixLength: 32)))
            #expect(try Sysctl.read("net/ipv4/conf/all/arp_ignore") == "1")
            #expect(try Sysctl.read("net/ipv4/conf/all/arp_announce") == "2")
            let rules = try #require(try SegmentRules.present())
            #expect(rules.vips == [vip])
            #expect(rules.lowered(1460, from: vip, mtu: 1500) == 1440)
            #expect(try host.socket.rules() == before.rules)

            #expect(try setup.plan().isEmpty)
            let applied = try host.snapshot()
            try setup.apply { Issue.record("changed again: \($0)") }
            #expect(try host.snapshot() == applied)

            #expect(try RealServerSetup.undo { _, _ in })
            #expect(try host.snapshot() == before)
            #expect(!exists(InstancePaths().runDirectory))
            var undoneAgain = 0
            #expect(try RealServerSetup.undo { _, _ in undoneAgain += 1 })
            #expect(undoneAgain == 0)
        }
    }

    @Test("a dry run changes nothing")
    func dryRunChangesNothing() async {
        await #expect(processExitsWith: .success) {
            let host = try Host()
            let before = try host.snapshot()
            let steps = try RealServerSetup(vips: [try address("10.0.0.100")]).plan().steps
            #expect(steps.contains { $0.description == "add address 10.0.0.100/32 to tunl0" })
            #expect(steps.contains { $0.description == "set sysctl net/ipv4/conf/all/arp_ignore to 1" })
            #expect(try host.snapshot() == before)
            #expect(!exists(InstancePaths().runDirectory))
        }
    }

    @Test("a second run adds another VIP")
    func extendsByAnotherVIP() async {
        await #expect(processExitsWith: .success) {
            let host = try Host()
            let before = try host.snapshot()
            try RealServerSetup(vips: [try address("10.0.0.100")]).apply { _ in }
            var steps: [String] = []
            try RealServerSetup(vips: [try address("10.0.0.101")]).apply { steps.append($0.description) }
            #expect(
                steps == [
                    "add address 10.0.0.101/32 to tunl0",
                    "lower the MSS of answers from 10.0.0.100, 10.0.0.101 to 1440 by nftables' table ip ipvsd",
                ])
            #expect(try RealServerSetup.undo { _, _ in })
            #expect(try host.snapshot() == before)
        }
    }

    @Test("an undo restores the operator's sysctls")
    func restoresWhatTheOperatorHadSet() async {
        await #expect(processExitsWith: .success) {
            let host = try Host()
            try Sysctl.write("net/ipv4/conf/all/rp_filter", "1")
            try Sysctl.write("net/ipv4/conf/all/arp_announce", "1")
            let before = try host.snapshot()
            let setup = RealServerSetup(vips: [try address("10.0.0.100")])
            try setup.apply { _ in }
            #expect(try Sysctl.read("net/ipv4/conf/all/rp_filter") == "1")
            #expect(try Sysctl.read("net/ipv4/conf/tunl0/rp_filter") == "2")
            // Another program resets it. The next run sets it again, and the journal keeps the first value.
            try Sysctl.write("net/ipv4/conf/all/arp_announce", "0")
            try setup.apply { _ in }
            #expect(try Sysctl.read("net/ipv4/conf/all/arp_announce") == "2")
            #expect(try RealServerSetup.undo { _, _ in })
            #expect(try host.snapshot() == before)
        }
    }

    @Test("the next run adjusts the MSS to MTUs and policy")
    func followsMTUsAndPolicyOnTheNextRun() async {
        await #expect(processExitsWith: .success) {
            let host = try Host()
            let before = try host.snapshot()
            let vip = try address("10.0.0.100")
            func lowered(_ mtu: UInt32) -> UInt32? {
                (try? SegmentRules.present())?.lowered(mtu - 40, from: vip, mtu: mtu)
            }
            try RealServerSetup(vips: [vip], mss: .value(1200)).apply { _ in }
            #expect(lowered(1500) == 1200)
            #expect(lowered(9000) == 1200)

            let narrow = Route(
                destination: try address("192.0.2.0"), prefixLength: 24, gateway: try address("10.0.0.1"),
                interface: host.interface.index, otherMetrics: [2: [0x78, 5, 0, 0]])
            try host.socket.addRoute(narrow)
            let setup = RealServerSetup(vips: [vip])
            try setup.apply { _ in }
            #expect(lowered(1500) == 1440)
            #expect(lowered(1492) == 1440)
            #expect(lowered(1400) == 1340)
            #expect(try setup.plan().isEmpty)

            // A limit that no route needs any more does no harm.
            try host.socket.removeRoute(narrow)
            #expect(try setup.plan().isEmpty)

            try RealServerSetup(vips: [vip], mss: .off).apply { _ in }
            #expect(try SegmentRules.presence() == .none)
            #expect(try RealServerSetup.undo { _, _ in })
            #expect(try host.snapshot() == before)
        }
    }

    @Test("the next run restores flushed rules for all VIPs")
    func restoresRulesThatWereFlushedForAllVIPs() async {
        await #expect(processExitsWith: .success) {
            let host = try Host()
            let before = try host.snapshot()
            let vips = [try address("10.0.0.100"), try address("10.0.0.101")]
            try RealServerSetup(vips: vips).apply { _ in }
            let applied = try host.snapshot()
            for damage in ["flush ruleset", "flush chain ip ipvsd lower", "flush chain ip ipvsd postrouting"] {
                try NFTables.run(damage)
                try RealServerSetup(vips: [vips[0]]).apply { _ in }
                #expect(try host.snapshot() == applied, "\(damage)")
            }
            #expect(try RealServerSetup.undo(vips: [vips[1]]) { _, _ in })
            #expect(try SegmentRules.present()?.vips == [vips[0]])
            try NFTables.run("flush ruleset")
            #expect(try RealServerSetup.undo { _, _ in })
            #expect(try host.snapshot() == before)
        }
    }

    @Test("another program's table ip ipvsd is a conflict")
    func aTableOfSomebodyElseIsAConflict() async {
        await #expect(processExitsWith: .success) {
            let host = try Host()
            try NFTables.run("add table ip ipvsd; add chain ip ipvsd mine")
            let before = try host.snapshot()
            let setup = RealServerSetup(vips: [try address("10.0.0.100")])
            let error = #expect(throws: RealServerSetupError.self) { try setup.apply { _ in } }
            #expect(error?.description.contains("table ip ipvsd is there, and ipvsd did not make it") == true)
            #expect(try host.snapshot() == before)
            #expect(!exists(InstancePaths().runDirectory))
        }
    }

    /// Older versions made copies of routes in a table of their own, and rules. The journal may lack them.
    @Test("the routes and rules of older versions are removed")
    func whatOlderVersionsMadeGivesWay() async {
        await #expect(processExitsWith: .success) {
            let host = try Host()
            let before = try host.snapshot()
            let vips = [try address("10.0.0.100"), try address("10.0.0.101")]
            let rules = vips.map { Rule(priority: 19_800, source: $0, table: 19_800, protocolID: 198) }
            let copy = Route(
                destination: IPAddress(0), prefixLength: 0, table: 19_800, gateway: try address("10.0.0.254"),
                interface: host.interface.index, advmss: 1440, protocolID: 198)
            let journal = try ChangeJournal(path: InstancePaths().realServerJournal)
            try journal.make(.route(copy)) { try host.socket.addRoute(copy) }
            try journal.make(.rule(rules[0])) { try host.socket.addRule(rules[0]) }
            try host.socket.addRule(rules[1])

            try RealServerSetup(vips: [vips[0]]).apply { _ in }
            #expect(try host.socket.rules() == before.rules)
            #expect(try host.socket.routes(table: 19_800).isEmpty)
            #expect(try SegmentRules.present()?.vips == Set(vips))
            #expect(try RealServerSetup.undo { _, _ in })
            #expect(try host.snapshot() == before)

            // Changes of an older version are undone without another run.
            let another = try ChangeJournal(path: InstancePaths().realServerJournal)
            try another.make(.route(copy)) { try host.socket.addRoute(copy) }
            try another.make(.rule(rules[0])) { try host.socket.addRule(rules[0]) }
            #expect(try RealServerSetup.undo { _, _ in })
            #expect(try host.snapshot() == before)
        }
    }

    @Test("the next run restores a deleted tunnel")
    func mendsATunnelThatWasDeleted() async {
        await #expect(processExitsWith: .success) {
            let host = try Host()
            let before = try host.snapshot()
            let setup = RealServerSetup(vips: [try address("10.0.0.100")])
            try setup.apply { _ in }
            let tunnel = try #require(try host.socket.link(named: "tunl0"))
            try host.socket.deleteLink(index: tunnel.index)
            try setup.apply { _ in }
            #expect(try setup.plan().isEmpty)
            #expect(try host.snapshot().filters <= 1)
            #expect(try RealServerSetup.undo { _, _ in })
            #expect(try host.snapshot() == before)
        }
    }

    @Test("an undo leaves a tunnel that others use, under its new name, too")
    func keepsARenamedTunnelInUse() async {
        await #expect(processExitsWith: .success) {
            let host = try Host()
            try RealServerSetup(vips: [try address("10.0.0.100")]).apply { _ in }
            let tunnel = try #require(try host.socket.link(named: "tunl0"))
            func rename(_ from: String, _ to: String) throws {
                try host.socket.setUp(false, interface: tunnel.index)
                #expect(Command.status("ip", ["link", "set", from, "name", to]) == 0)
                try host.socket.setUp(true, interface: tunnel.index)
            }
            try rename("tunl0", "nl-t")
            let other = try address("10.42.0.1")
            try host.socket.addAddress(other, prefixLength: 32, to: tunnel.index)
            var kept: [String] = []
            #expect(try RealServerSetup.undo { if let error = $1 { kept.append("\(error)") } })
            #expect(!kept.isEmpty)
            #expect(kept.allSatisfy { $0.contains("in use by others: address 10.42.0.1") })
            #expect(try host.socket.addresses().contains { $0.address == other && $0.interface == tunnel.index })

            try rename("nl-t", "tunl0")
            #expect(Command.status("ip", ["address", "flush", "dev", "tunl0"]) == 0)
            #expect(try RealServerSetup.undo { _, _ in })
            #expect(!exists(InstancePaths().runDirectory))
        }
    }

    @Test("a failed run leaves nothing")
    func leavesNothingWhenItFails() async {
        await #expect(processExitsWith: .success) {
            let host = try Host()
            let before = try host.snapshot()
            let setup = RealServerSetup(vips: [try address("10.0.0.100")])
            // The journal cannot be written from the first address on.
            let journal = InstancePaths().realServerJournal
            #expect(throws: SystemError.self) {
                try setup.apply { step in
                    guard step.description.hasPrefix("add address") else { return }
                    unlink(journal)
                    mkdir(journal + ".new", 0o700)
                }
            }
            rmdir(journal + ".new")
            #expect(try host.snapshot() == before)
            // The entries could not be removed either. Another try removes them.
            #expect(try RealServerSetup.undo { _, _ in })
            #expect(!exists(InstancePaths().runDirectory))

            try host.socket.createVeth(name: "tunl0", peer: "nl-c")
            let other = try host.snapshot()
            #expect(throws: RealServerSetupError.self) { try setup.apply { _ in } }
            #expect(try host.snapshot() == other)
            #expect(!exists(InstancePaths().runDirectory))
        }
    }

    @Test("the error names a missing interface")
    func namesAMissingInterface() async {
        await #expect(processExitsWith: .success) {
            let host = try Host()
            let before = try host.snapshot()
            let setup = RealServerSetup(vips: [try address("10.0.0.100")], interfaces: ["nl-none"])
            // A kernel with ipip needs no interface.
            if KernelModule.isAvailable("ipip") { return }
            let error = #expect(throws: RealServerSetupError.self) { try setup.apply { _ in } }
            #expect(error?.description == "no interface nl-none")
            #expect(try host.snapshot() == before)
        }
    }

    @Test("a second run at the same time is refused")
    func anotherRunAtWorkIsReported() async {
        await #expect(processExitsWith: .success) {
            _ = try Host()
            let lock = try FileLock(path: InstancePaths().runDirectory + "/realserver.lock")
            #expect(throws: RealServerSetupError.self) {
                try RealServerSetup(vips: [try address("10.0.0.100")]).apply { _ in }
            }
            try #require(lock).removeFile()
            InstancePaths().removeRunDirectoryIfEmpty()
        }
    }
}
