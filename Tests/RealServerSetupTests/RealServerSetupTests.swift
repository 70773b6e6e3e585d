import Glibc
import HostState
import LoadBalancing
import Netlink
import RealServerSetup
import SystemCalls
import Testing

/// Each body runs in a process of its own (an exit test) that leaves for a fresh network namespace.
struct RealServerSetupTests {
    @Test func appliesOnceAndUndoes() async {
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
            let routes = try host.socket.routes(table: 19_800)
            #expect(Set(routes.map(\.destinationDescription)) == ["10.0.0.0/24", "default"])
            #expect(routes.allSatisfy { $0.advmss == 1440 && $0.protocolID == 198 })
            #expect(try host.socket.rules().filter { $0.source == vip && $0.table == 19_800 }.count == 1)

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

    @Test func dryRunChangesNothing() async {
        await #expect(processExitsWith: .success) {
            let host = try Host()
            let before = try host.snapshot()
            let steps = try RealServerSetup(vips: [try address("10.0.0.100")]).plan()
            #expect(steps.contains { $0.description == "add address 10.0.0.100/32 to tunl0" })
            #expect(steps.contains { $0.description == "set sysctl net/ipv4/conf/all/arp_ignore to 1" })
            #expect(try host.snapshot() == before)
            #expect(!exists(InstancePaths().runDirectory))
        }
    }

    @Test func extendsByAnotherVIP() async {
        await #expect(processExitsWith: .success) {
            let host = try Host()
            let before = try host.snapshot()
            try RealServerSetup(vips: [try address("10.0.0.100")]).apply { _ in }
            var steps: [String] = []
            try RealServerSetup(vips: [try address("10.0.0.101")]).apply { steps.append($0.description) }
            #expect(
                steps == [
                    "add address 10.0.0.101/32 to tunl0", "add rule 19800: from 10.0.0.101/32 lookup 19800",
                ])
            #expect(try RealServerSetup.undo { _, _ in })
            #expect(try host.snapshot() == before)
        }
    }

    @Test func restoresWhatTheOperatorHadSet() async {
        await #expect(processExitsWith: .success) {
            let host = try Host()
            try Sysctl.write("net/ipv4/conf/all/rp_filter", "1")
            try Sysctl.write("net/ipv4/conf/all/arp_announce", "1")
            let before = try host.snapshot()
            let setup = RealServerSetup(vips: [try address("10.0.0.100")])
            try setup.apply { _ in }
            #expect(try Sysctl.read("net/ipv4/conf/all/rp_filter") == "1")
            #expect(try Sysctl.read("net/ipv4/conf/tunl0/rp_filter") == "2")
            // Somebody turns it back; the next run mends it and still knows the first value.
            try Sysctl.write("net/ipv4/conf/all/arp_announce", "0")
            try setup.apply { _ in }
            #expect(try Sysctl.read("net/ipv4/conf/all/arp_announce") == "2")
            #expect(try RealServerSetup.undo { _, _ in })
            #expect(try host.snapshot() == before)
        }
    }

    @Test func followsRoutesAndPolicyOnTheNextRun() async {
        await #expect(processExitsWith: .success) {
            let host = try Host()
            let before = try host.snapshot()
            let vip = try address("10.0.0.100")
            try RealServerSetup(vips: [vip], mss: .value(1200)).apply { _ in }
            #expect(try host.socket.routes(table: 19_800).allSatisfy { $0.advmss == 1200 })

            let hop = { (gateway: String, weight: UInt16) in
                Route.NextHop(
                    interface: host.interface.index, gateway: IPv4Address(gateway), weight: weight, isOnLink: false)
            }
            let multipath = Route(
                destination: try address("192.0.2.0"), prefixLength: 24,
                nextHops: [hop("10.0.0.1", 1), hop("10.0.0.2", 9)])
            try host.socket.addRoute(multipath)
            let setup = RealServerSetup(vips: [vip])
            try setup.apply { _ in }
            let copies = try host.socket.routes(table: 19_800)
            #expect(copies.count == 3 && copies.allSatisfy { $0.advmss == 1440 })
            #expect(copies.contains { $0.nextHops == multipath.nextHops })
            #expect(try setup.plan().isEmpty)

            try host.socket.removeRoute(multipath)
            try setup.apply { _ in }
            #expect(try host.socket.routes(table: 19_800).count == 2)

            try RealServerSetup(vips: [vip], mss: .off).apply { _ in }
            #expect(try host.socket.routes(table: 19_800).isEmpty)
            #expect(try host.socket.rules() == before.rules)
            #expect(try RealServerSetup.undo { _, _ in })
            #expect(try host.snapshot() == before)
        }
    }

    @Test func mendsATunnelThatWasDeleted() async {
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

    @Test func leavesNothingWhenItFails() async {
        await #expect(processExitsWith: .success) {
            let host = try Host()
            let before = try host.snapshot()
            let setup = RealServerSetup(vips: [try address("10.0.0.100")])
            // From the first address on, nothing can be journalled any more.
            let journal = InstancePaths().realServerJournal
            #expect(throws: SystemError.self) {
                try setup.apply { step in
                    if case .addAddress = step.action { mkdir(journal + ".new", 0o700) }
                }
            }
            rmdir(journal + ".new")
            #expect(try host.snapshot() == before)
            // Nor could it be forgotten; another try can.
            #expect(try RealServerSetup.undo { _, _ in })
            #expect(!exists(InstancePaths().runDirectory))

            try host.socket.createVeth(name: "tunl0", peer: "nl-c")
            let other = try host.snapshot()
            #expect(throws: RealServerSetupError.self) { try setup.apply { _ in } }
            #expect(try host.snapshot() == other)
            #expect(!exists(InstancePaths().runDirectory))
        }
    }

    @Test func namesAMissingInterface() async {
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

    @Test func anotherRunAtWorkIsReported() async {
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
