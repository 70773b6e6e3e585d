import LoadBalancing
import Testing

@testable import Director

/// What is known of the ways to real servers. Nobody is asked: the tests say what was found.
struct KnownWaysTests {
    private let one = IPv4Address(0x0A00_000B)
    private let two = IPv4Address(0x0A00_000C)
    private let three = IPv4Address(0x0A00_000D)

    @Test("a way that is lost is told once for each reason, and once when it is back")
    func news() {
        var ways = KnownWays()
        #expect(ways.note(nil, of: one) == nil)
        #expect(ways.note("no route", of: one) == .lost(reason: "no route"))
        #expect(ways.note("no route", of: one) == nil)
        #expect(ways.note("a VIP", of: one) == .lost(reason: "a VIP"))
        #expect(ways.refusal(of: one) == "a VIP" && ways.refusal(of: two) == nil)
        #expect(ways.note(nil, of: one) == .found)
        #expect(ways.refusal(of: one) == nil)
    }

    @Test("each real server has its turn")
    func turns() {
        var ways = KnownWays()
        let servers: Set = [three, one, two]
        #expect(ways.next(of: servers, atMost: 3) == [one, two, three])
        #expect(ways.next(of: servers, atMost: 2) == [one, two])
        #expect(ways.next(of: servers, atMost: 2) == [three, one])
        // One that has gone is passed over.
        #expect(ways.next(of: [two, three], atMost: 1) == [two])
    }

    @Test("a VIP is looked up once, and anew after a change of the network")
    func localVIP() {
        var ways = KnownWays()
        #expect(ways.isLocal(one) { nil } == nil)
        #expect(ways.isLocal(one) { true } == true)
        #expect(ways.isLocal(one) { false } == true)
        ways.forgetLocalVIPs()
        #expect(ways.isLocal(one) { false } == false)
    }
}
