import Addresses
import DataPlane
import HealthChecks
import LoadBalancing
import Netlink
import ServiceConfiguration
import Testing

@testable import Director

/// A director as a whole, without a kernel: verdicts, drains and changes of the network come in, weights and events go out.
struct DirectorTests {
    private let lab = DirectorLab()
    private let service = DirectorLab.service
    private let first = DirectorLab.servers[0]
    private let second = DirectorLab.servers[1]

    @Test("a killed real server leaves the tables, and its event is told")
    func killedServer() async throws {
        try await lab.run { director in
            #expect(lab.plane.isForwarding)
            #expect(lab.plane.weight(first, of: service) == 1)
            lab.checker.kill(first)
            try await lab.wait(for: director, "the killed real server is out") {
                lab.plane.weight(first, of: service) == nil
            }
            #expect(lab.plane.weight(second, of: service) == 1)
            try await lab.wait(for: director, "the event is told") {
                lab.events(of: director).contains("server-down \(first)")
            }
        }
    }

    @Test(
        "a packet filter of the director's machine takes no real server out",
        arguments: [MemoryDataPlane.PacketFilter.questions, .answers])
    func ownPacketFilter(filter: MemoryDataPlane.PacketFilter) async throws {
        try await lab.run { director in
            lab.plane.setFilter(filter)
            try await lab.wait(for: director, "the doubt is told") {
                lab.events(of: director).contains("check-path-in-doubt")
            }
            let asked = lab.checker.asked(first)
            try await lab.wait(for: director, "more checks than a verdict takes") {
                lab.checker.asked(first) > asked + 5
            }
            #expect(DirectorLab.servers.allSatisfy { lab.plane.weight($0, of: service) == 1 })
            #expect(lab.events(of: director).filter { $0 == "check-path-in-doubt" }.count == 1)
            // Behind no filter a real server that is dead is out.
            lab.plane.setFilter(nil)
            lab.checker.kill(first)
            try await lab.wait(for: director, "the killed real server is out") {
                lab.plane.weight(first, of: service) == nil
            }
            #expect(lab.plane.weight(second, of: service) == 1)
        }
    }

    @Test("a check path that somebody keeps taking away takes no real server out")
    func missingCheckPath() async throws {
        try await lab.run { director in
            lab.plane.breakCheckPath(true)
            lab.checker.silence(port: 80, of: first)
            let asked = lab.checker.asked(first)
            try await lab.wait(for: director, "more checks than a verdict takes") {
                lab.checker.asked(first) > asked + 5
            }
            #expect(lab.plane.weight(first, of: service) == 1)
            #expect(lab.events(of: director) == ["restored", "restored"], "the second one says that it goes again")
            lab.plane.breakCheckPath(false)
            try await lab.wait(for: director, "the silent real server is out") {
                lab.plane.weight(first, of: service) == nil
            }
        }
    }

    @Test("answers count while the check path is looked at for the sake of others")
    func longLook() async throws {
        try await lab.run { director in
            lab.plane.holdLooks(true)
            lab.checker.silence(port: 80, of: first)
            try await lab.wait(for: director, "the look is under way") { lab.plane.looks > 0 }
            lab.checker.kill(second)
            try await lab.wait(for: director, "the real server that refuses is out") {
                lab.plane.weight(second, of: service) == nil
            }
            #expect(lab.plane.weight(first, of: service) == 1)
            #expect(lab.plane.looks == 1)
            lab.plane.holdLooks(false)
            try await lab.wait(for: director, "the silent real server is out, too") {
                lab.plane.weight(first, of: service) == nil
            }
        }
    }

    @Test("a look at the check path that a stop overtakes repairs nothing")
    func stopDuringLook() async throws {
        try await lab.run { director in
            lab.plane.holdLooks(true)
            lab.checker.silence(port: 80, of: first)
            try await lab.wait(for: director, "the look is under way") { lab.plane.looks > 0 }
            let updates = lab.plane.updates
            #expect(await director.stop())
            lab.plane.breakCheckPath(true)
            lab.plane.holdLooks(false)
            try await lab.pass(.seconds(5), for: director)
            #expect(lab.plane.updates == updates)
            #expect(!lab.events(of: director).contains("restored"))
        }
    }

    @Test("a service loses all real servers, and has them again")
    func allServersLost() async throws {
        try await lab.run { director in
            for server in DirectorLab.servers { lab.checker.kill(server) }
            try await lab.wait(for: director, "the service is down") {
                lab.events(of: director).contains("service-down")
            }
            #expect(DirectorLab.servers.allSatisfy { lab.plane.weight($0, of: service) == nil })
            for server in DirectorLab.servers { lab.checker.revive(server) }
            try await lab.wait(for: director, "both are back") {
                DirectorLab.servers.allSatisfy { lab.plane.weight($0, of: service) == 1 }
            }
            let events = lab.events(of: director)
            #expect(events.contains("service-up"))
            #expect(events.contains("server-up \(first)"))
            #expect(events.contains("server-up \(second)"))
        }
    }

    @Test("a sorry server serves while the quorum is lost")
    func sorryServer() async throws {
        let sorry = IPAddress(0x0A00_0063)
        let policy = ServicePolicy(quorum: Quorum.Rule(required: 2), sorryServer: sorry)
        try await lab.run(DirectorLab.configuration(policy: policy)) { director in
            #expect(lab.plane.weight(sorry, of: service) == nil)
            lab.checker.kill(second)
            try await lab.wait(for: director, "the sorry server serves") {
                lab.plane.weight(sorry, of: service) == 1
            }
            #expect(lab.plane.weight(first, of: service) == nil)
            lab.checker.revive(second)
            try await lab.wait(for: director, "the real servers serve") {
                lab.plane.weight(first, of: service) == 1 && lab.plane.weight(second, of: service) == 1
            }
            #expect(lab.plane.weight(sorry, of: service) == nil)
            let told = lab.events(of: director).filter { $0.hasPrefix("quorum") || $0.hasPrefix("sorry") }
            let wanted = ["quorum-lost", "sorry-server-in \(sorry)", "quorum-regained", "sorry-server-out \(sorry)"]
            #expect(told == wanted)
        }
    }

    @Test("an update that the data plane refuses is tried again")
    func refusedUpdate() async throws {
        try await lab.run { director in
            lab.plane.refuse(1)
            lab.checker.kill(first)
            try await lab.wait(for: director, "the event is told") {
                lab.events(of: director).contains("server-down \(first)")
            }
            #expect(lab.plane.weight(first, of: service) == 1, "the update was refused")
            try await lab.wait(for: director, "the update is made") { lab.plane.weight(first, of: service) == nil }
        }
    }

    @Test("a link that comes back is told of the VIPs")
    func linkComesBack() async throws {
        try await lab.run(DirectorLab.configuration(managesAddress: true)) { director in
            #expect(lab.network.takeAnnounced() == [DirectorLab.vip])
            lab.network.setCarrier(false)
            try await lab.pass(.milliseconds(100), for: director)
            #expect(lab.network.takeAnnounced().isEmpty)
            lab.network.setCarrier(true)
            try await lab.wait(for: director, "the VIP is announced") {
                lab.network.takeAnnounced() == [DirectorLab.vip]
            }
        }
    }

    @Test("a real server that comes back waits for a sweep of what it left half-open")
    func sweepBeforeReturn() async throws {
        try await lab.run { director in
            lab.checker.kill(first)
            try await lab.wait(for: director, "the killed real server is out") {
                lab.plane.weight(first, of: service) == nil
            }
            let member = ServiceMember(service: service, server: first)
            lab.plane.abandonConnections(of: member)
            lab.checker.revive(first)
            try await lab.wait(for: director, "it is back") { lab.plane.weight(first, of: service) == 1 }
            #expect(!lab.plane.mayHoldAbandoned(member, until: lab.clock.now))
        }
    }

    @Test("a VIP is put back on an interface that was renamed")
    func renamedInterface() async throws {
        try await lab.run(DirectorLab.configuration(managesAddress: true)) { director in
            let vip = DirectorLab.vip
            let index = MemoryNetwork.link.index
            #expect(lab.network.addresses().contains { $0.address == vip && $0.interface == index })
            lab.network.rename("wan0")
            lab.network.removeAddress(vip, from: index)
            try await lab.wait(for: director, "the VIP is back") {
                lab.network.addresses().contains { $0.address == vip && $0.interface == index }
            }
            try await lab.wait(for: director, "the event names the interface") {
                director.events.read(after: 0).events.contains {
                    $0.kind == .restored && $0.reason == "address \(vip)/32 on wan0"
                }
            }
        }
    }

    /// Only a VIP that has stayed in the journal is put back.
    @Test("a reload keeps a VIP on an interface that has another MAC address by now")
    func otherMACAddress() async throws {
        try await lab.run(DirectorLab.configuration(managesAddress: true)) { director in
            lab.network.setMAC(try #require(MACAddress("02:00:00:00:00:09")))
            let servers = [RealServer(address: DirectorLab.servers[0])]
            _ = try await director.reload(DirectorLab.configuration(servers: servers, managesAddress: true))
            lab.network.removeAddress(DirectorLab.vip, from: MemoryNetwork.link.index)
            try await lab.wait(for: director, "the VIP is back") {
                lab.network.addresses().contains { $0.address == DirectorLab.vip }
            }
        }
    }

    @Test("a local node is asked at the VIP while the machine has it, and the kernel is not asked for each check")
    func localNode() async throws {
        var configuration = DirectorLab.configuration(servers: [RealServer(address: MemoryNetwork.own)])
        let pace = CheckPace(interval: .milliseconds(100), timeout: .milliseconds(100))
        configuration.services[0].checks = .policy(CheckPolicy(kind: .tcp(port: 80), pace: pace))
        lab.network.makeLocal([MemoryNetwork.own, DirectorLab.vip])
        try await lab.run(configuration) { director in
            try await lab.pass(.seconds(3), for: director)
            #expect(lab.checker.asked(DirectorLab.vip) > 20)
            #expect(lab.checker.asked(MemoryNetwork.own) == 0)
            #expect(lab.network.lookups(of: DirectorLab.vip) < 10)
            lab.network.makeLocal([MemoryNetwork.own])
            let before = lab.checker.asked(DirectorLab.vip)
            try await lab.pass(.seconds(1), for: director)
            #expect(lab.checker.asked(DirectorLab.vip) - before <= 1)
            #expect(lab.checker.asked(MemoryNetwork.own) > 5)
        }
    }
}
