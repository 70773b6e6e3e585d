import Addresses
import CLinux
import HostState
import Netlink
import Testing
import TunnelSetup

/// Tunnels in a network namespace. Each body is an exit test, which enters a new namespace in a process of its own.
struct TunnelSetupTests {
    @Test("only IPIP tunnels are deleted")
    func onlyTunnelsAreDeleted() async {
        await #expect(processExitsWith: .success) {
            try #require(clinux_unshare_network() == 0)
            let socket = try RouteSocket()
            try socket.createVeth(name: "veth-a", peer: "veth-b")
            let setup = TunnelSetup()
            #expect(throws: TunnelError.refused("veth-a is no IPIP tunnel, but veth")) {
                try setup.delete("veth-a") { _ in }
            }
            #expect(throws: TunnelError.refused("lo is no IPIP tunnel, but a hardware device")) {
                try setup.delete("lo") { _ in }
            }
            #expect(throws: TunnelError.notFound("no tunnel t1")) { try setup.delete("t1") { _ in } }
            #expect(throws: TunnelError.notFound("no IPIP tunnel veth-a")) { try TunnelSetup.list("veth-a") }
            #expect(try socket.link(named: "veth-a") != nil)
            #expect(try setup.deleteAll { _, _ in })
            #expect(try ChangeJournal.read(path: InstancePaths().tunnelJournal).isEmpty)
        }
    }

    /// Tests/KernelLab/tunnel.test.sh has a kernel with ipip. Without it the journal stays empty.
    @Test("the error names a kernel without ipip")
    func aKernelWithoutTheModuleIsNamed() async {
        await #expect(processExitsWith: .success) {
            try #require(clinux_unshare_network() == 0)
            let wanted = PointToPoint(
                name: "t1", local: IPv4Address(0xC000_0201), remote: IPv4Address(0xC633_6401))
            let setup = TunnelSetup()
            if KernelModule.isAvailable("ipip") {
                _ = try setup.add(wanted) { _ in }
                #expect(try TunnelSetup.list("t1").count == 1)
                #expect(try setup.deleteAll { _, _ in })
                return
            }
            let error = #expect(throws: TunnelError.self) { try setup.add(wanted) { _ in } }
            #expect(error?.description.contains("has no IPIP tunnels: modprobe finds no module ipip") == true)
            #expect(throws: TunnelError.self) { try setup.plan(wanted) }
            #expect(try ChangeJournal.read(path: InstancePaths().tunnelJournal).isEmpty)
        }
    }
}
