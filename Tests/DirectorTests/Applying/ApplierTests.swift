import Addresses
import DataPlane
import LoadBalancing
import Testing

@testable import Director
@testable import HealthChecks

/// The times at which changes of health become an update of the data plane. The tests set the time.
struct ApplierTests {
    private let web = ServiceAddress(vip: IPAddress(0x0A00_0064), port: 80, transport: .tcp)
    private let mail = ServiceAddress(vip: IPAddress(0x0A00_0064), port: 25, transport: .tcp)
    private let one = IPAddress(0x0A00_000B)
    private let two = IPAddress(0x0A00_000C)
    private let start = ContinuousClock.now

    private func at(_ milliseconds: Int) -> ContinuousClock.Instant { start + .milliseconds(milliseconds) }

    private func up(_ server: IPAddress) -> ServiceState.Changes {
        ServiceState.Changes(transitions: [.serverUp(server)], hasNewWeights: true)
    }

    private func down(_ server: IPAddress) -> ServiceState.Changes {
        ServiceState.Changes(transitions: [.serverDown(server, reason: "refused")], hasNewWeights: true)
    }

    @Test("the first change is applied without a pause, together with the changes until then")
    func quickSuccession() throws {
        var applier = Applier(at: start)
        let step = applier.note(down(one), of: web, at: at(50))
        let turn = try #require(step.turn)
        #expect(step == .wait(turn, until: at(50)))
        #expect(applier.note(down(two), of: web, at: at(50)) == .nothing)
        #expect(applier.note(down(one), of: mail, at: at(51)) == .nothing)
        let begins = applier.beginSweep(in: turn)
        #expect(begins)
        #expect(applier.isDue(after: turn))
        let batch = applier.take()
        #expect(batch.services == [web, mail])
        let transitions = batch.transitions.map(\.transition)
        let downs = [one, two, one].map { HealthTransition.serverDown($0, reason: "refused") }
        #expect(transitions == downs)
        #expect(batch.transitions.map(\.service) == [web, web, mail])
        #expect(applier.take().isEmpty)
    }

    @Test("a change without news needs no update")
    func noNews() {
        var applier = Applier(at: start)
        #expect(applier.note(ServiceState.Changes(), of: web, at: start) == .nothing)
        #expect(applier.hurry() == nil)
        #expect(applier.take().isEmpty)
    }

    @Test("a transition without a new weight is published, and its service is not updated")
    func transitionAlone() {
        var applier = Applier(at: start)
        let held = ServiceState.Changes(transitions: [.serverHeld(one, for: .seconds(9))])
        _ = applier.note(held, of: web, at: start)
        let batch = applier.take()
        #expect(!batch.isEmpty)
        #expect(batch.services.isEmpty)
        #expect(batch.transitions.map(\.transition) == [.serverHeld(one, for: .seconds(9))])
    }

    @Test("the next update waits 5 ms, or twice as long as the last one took", arguments: [(1, 5), (3, 6), (40, 80)])
    func pause(took: Int, pause: Int) throws {
        var applier = Applier(at: start)
        _ = applier.note(down(one), of: web, at: at(10))
        _ = applier.take()
        applier.noteUpdate(from: at(10), to: at(10 + took))
        let step = applier.note(down(two), of: web, at: at(11 + took))
        let turn = try #require(step.turn)
        #expect(step == .wait(turn, until: at(10 + took + pause)))
    }

    @Test("a real server that comes back is swept for, and one that falls again is not")
    func returningMembers() {
        var applier = Applier(at: start)
        _ = applier.note(up(one), of: web, at: at(1))
        _ = applier.note(up(two), of: web, at: at(2))
        _ = applier.note(up(one), of: mail, at: at(3))
        let (webOne, webTwo, mailOne) = (
            ServiceMember(service: web, server: one), ServiceMember(service: web, server: two),
            ServiceMember(service: mail, server: one)
        )
        #expect(applier.pending.returning == [webOne: at(1), webTwo: at(2), mailOne: at(3)])
        _ = applier.note(down(one), of: web, at: at(4))
        #expect(applier.pending.returning == [webTwo: at(2), mailOne: at(3)])
        #expect(applier.take().returning == [webTwo: at(2), mailOne: at(3)])
        #expect(applier.pending.returning.isEmpty)
    }

    @Test("a real server that goes down ends the wait for the sweep, but not the pause")
    func downDoesNotWait() throws {
        var applier = Applier(at: start)
        let turnStep = applier.note(up(one), of: web, at: start)
        let turn = try #require(turnStep.turn)
        #expect(applier.note(down(two), of: web, at: start) == .nothing, "the pause")
        let begins = applier.beginSweep(in: turn)
        #expect(begins)
        #expect(applier.note(up(two), of: mail, at: at(1)) == .nothing)
        #expect(applier.note(down(two), of: web, at: at(2)) == .apply)
        #expect(applier.take().services == [web, mail])
        // The end of the sweep has nothing left to update.
        #expect(!applier.isDue(after: turn))
    }

    @Test("a wait that another update overtakes does nothing when it ends")
    func overtaken() throws {
        var applier = Applier(at: start)
        let firstStep = applier.note(down(one), of: web, at: start)
        let first = try #require(firstStep.turn)
        _ = applier.take()
        let secondStep = applier.note(down(two), of: web, at: at(1))
        let second = try #require(secondStep.turn)
        #expect(first != second)
        let beginsFirst = applier.beginSweep(in: first)
        #expect(!beginsFirst)
        #expect(!applier.isDue(after: first))
        let beginsSecond = applier.beginSweep(in: second)
        #expect(beginsSecond)
        #expect(applier.isDue(after: second))
    }

    @Test("a caller that cannot wait sweeps in the same turn, and the first end makes the update")
    func hurry() throws {
        var applier = Applier(at: start)
        let turnStep = applier.note(up(one), of: web, at: start)
        let turn = try #require(turnStep.turn)
        #expect(applier.hurry() == turn)
        let begins = applier.beginSweep(in: turn)
        #expect(!begins, "the sweep has begun")
        #expect(applier.hurry() == turn)
        #expect(applier.isDue(after: turn))
        _ = applier.take()
        #expect(!applier.isDue(after: turn))
        #expect(applier.hurry() == nil)
    }

    @Test("services that the data plane refused are owed until all are applied")
    func owed() {
        var applier = Applier(at: start)
        #expect(!applier.owesServices)
        applier.noteRefusal()
        _ = applier.note(down(one), of: web, at: start)
        _ = applier.take()
        applier.noteUpdate(from: start, to: at(1))
        #expect(applier.owesServices)
        applier.noteAllApplied()
        #expect(!applier.owesServices)
    }

    @Test("services whose settings change are in the next update")
    func added() {
        var applier = Applier(at: start)
        applier.add([web, mail])
        #expect(applier.take().services == [web, mail])
    }
}

extension Applier.Step {
    fileprivate var turn: Applier.Turn? { if case .wait(let turn, _) = self { turn } else { nil } }
}
