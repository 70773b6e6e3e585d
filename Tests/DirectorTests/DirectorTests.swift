import Addresses
import DataPlane
import HealthChecks
import LoadBalancing
import Netlink
import ServiceConfiguration
import Testing

@testable import Director

/// A whole director in memory. Verdicts, drains and changes of the network come in, and weights and events go out.
struct DirectorTests {
    private let lab = DirectorLab()
    private let service = DirectorLab.service
    private let first = DirectorLab.servers[0]
    private let second = DirectorLab.servers[1]

    @Test("a killed real server leaves the tables, and an event is published")
    func killedServer() async throws {
        try await lab.run { director in
            #expect(lab.plane.isForwarding)
            #expect(lab.plane.weight(first, of: service) == 1)
            lab.checker.kill(first)
            try await lab.wait(for: director, "the killed real server is out") {
                lab.plane.weight(first, of: service) == nil
            }
            #expect(lab.plane.weight(second, of: service) == 1)
            try await lab.wait(for: director, "the event is published") {
                lab.events(of: director).contains("server-down \(first)")
            }
        }
    }

    @Test("the log lines of a fall, a return, a drain and the quorum have the fields of their events")
    func logFields() async throws {
        let policy = ServicePolicy(quorum: Quorum.Rule(required: 2))
        try await lab.run(DirectorLab.configuration(policy: policy)) { director in
            /// Returns the fields of the last log line about the service, without the fields of its state.
            func fields(_ line: String) -> [String: String]? {
                lab.log.fields(ofLast: line)?.filter { !["up", "total", "weight", "quorum"].contains($0.key) }
            }
            lab.checker.kill(first)
            try await lab.wait(for: director, "the quorum is lost") { fields("\(service) lost its quorum") != nil }
            let down = lab.log.fields(ofLast: "real server \(first) of \(service) is down")
            let state = ["up": "1", "total": "2", "weight": "1", "quorum": "2"]
            let reason = try #require(down?["reason"])
            #expect(reason.contains("connection refused"))
            let named = ["event": "server-down", "service": "\(service)", "server": "\(first)", "reason": reason]
            #expect(down == named.merging(state) { $1 })
            #expect(fields("\(service) lost its quorum") == ["event": "quorum-lost", "service": "\(service)"])
            lab.checker.revive(first)
            try await lab.wait(for: director, "the quorum is there") {
                fields("\(service) has its quorum again") != nil
            }
            #expect(
                fields("real server \(first) of \(service) is up")
                    == ["event": "server-up", "service": "\(service)", "server": "\(first)"])
            #expect(fields("\(service) has its quorum again")?["event"] == "quorum-regained")
            _ = try await director.drain(DrainRequest(server: "\(second)", force: true))
            #expect(
                fields("real server \(second) of \(service) is drained")
                    == ["event": "server-drained", "service": "\(service)", "server": "\(second)"])
        }
    }

    @Test(
        "a packet filter of the director's machine takes no real server down",
        arguments: [MemoryDataPlane.PacketFilter.questions, .answers])
    func ownPacketFilter(filter: MemoryDataPlane.PacketFilter) async throws {
        try await lab.run { director in
            lab.plane.setFilter(filter)
            try await lab.wait(for: director, "the event of the doubt is published") {
                lab.events(of: director).contains("check-path-in-doubt")
            }
            let asked = lab.checker.questions(to: first)
            try await lab.wait(for: director, "more checks than a verdict takes") {
                lab.checker.questions(to: first) > asked + 5
            }
            #expect(DirectorLab.servers.allSatisfy { lab.plane.weight($0, of: service) == 1 })
            #expect(lab.events(of: director).filter { $0 == "check-path-in-doubt" }.count == 1)
            // Once the packet filter is gone, a dead real server goes down.
            lab.plane.setFilter(nil)
            lab.checker.kill(first)
            try await lab.wait(for: director, "the killed real server is out") {
                lab.plane.weight(first, of: service) == nil
            }
            #expect(lab.plane.weight(second, of: service) == 1)
        }
    }

    @Test("a check path that is removed again and again takes no real server down")
    func missingCheckPath() async throws {
        try await lab.run { director in
            lab.plane.breakCheckPath(true)
            lab.checker.silence(port: 80, of: first)
            let asked = lab.checker.questions(to: first)
            try await lab.wait(for: director, "more checks than a verdict takes") {
                lab.checker.questions(to: first) > asked + 5
            }
            #expect(lab.plane.weight(first, of: service) == 1)
            #expect(lab.events(of: director) == ["restored", "restored"], "the second one says that it goes again")
            lab.plane.breakCheckPath(false)
            try await lab.wait(for: director, "the silent real server is out") {
                lab.plane.weight(first, of: service) == nil
            }
        }
    }

    @Test("answers of other rounds count during a look at the check path")
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
            try await lab.wait(for: director, "the loss is logged") {
                lab.log.fields(ofLast: "no real server is left for \(service)")?["event"] == "service-down"
            }
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
            let published = lab.events(of: director).filter { $0.hasPrefix("quorum") || $0.hasPrefix("sorry") }
            let wanted = ["quorum-lost", "sorry-server-in \(sorry)", "quorum-regained", "sorry-server-out \(sorry)"]
            #expect(published == wanted)
        }
    }

    @Test("an update that the data plane refuses is tried again")
    func refusedUpdate() async throws {
        try await lab.run { director in
            lab.plane.refuse(1)
            lab.checker.kill(first)
            try await lab.wait(for: director, "the event is published") {
                lab.events(of: director).contains("server-down \(first)")
            }
            #expect(lab.plane.weight(first, of: service) == 1, "the update was refused")
            try await lab.wait(for: director, "the update is made") { lab.plane.weight(first, of: service) == nil }
        }
    }

    @Test("the VIPs are announced on a link that comes back")
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

    /// The director puts a VIP back only while the journal has the VIP.
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

    @Test("a local node is checked at the VIP while the machine has it, without a look-up for each check")
    func localNode() async throws {
        var configuration = DirectorLab.configuration(servers: [RealServer(address: MemoryNetwork.own)])
        let pace = CheckPace(interval: .milliseconds(100), timeout: .milliseconds(100))
        configuration.services[0].checks = .policy(CheckPolicy(kind: .tcp(port: 80), pace: pace))
        lab.network.makeLocal([MemoryNetwork.own, DirectorLab.vip])
        try await lab.run(configuration) { director in
            try await lab.pass(.seconds(3), for: director)
            #expect(lab.checker.questions(to: DirectorLab.vip) > 20)
            #expect(lab.checker.questions(to: MemoryNetwork.own) == 0)
            #expect(lab.network.lookups(of: DirectorLab.vip) < 10)
            lab.network.makeLocal([MemoryNetwork.own])
            let before = lab.checker.questions(to: DirectorLab.vip)
            try await lab.pass(.seconds(1), for: director)
            #expect(lab.checker.questions(to: DirectorLab.vip) - before <= 1)
            #expect(lab.checker.questions(to: MemoryNetwork.own) > 5)
        }
    }
}
