import DataPlane
import Testing

@testable import Director

/// The log lines about restored resources.
struct RestorationsTests {
    private let start = ContinuousClock.now
    private let vip = ManagedResource("address 10.0.0.100/32 on eth0")
    private let other = ManagedResource("sysctl net.ipv4.conf.ipvsd0.forwarding")

    private func at(_ seconds: Int) -> ContinuousClock.Instant { start + .seconds(seconds) }

    @Test("a resource that is restored every second is logged twice")
    func theManagedResourceThatGoesEverySecondIsSpokenOfTwice() {
        var restorations = Restorations()
        let words = (0..<1000).map { restorations.restored(vip, at: at($0)) }
        #expect(words[0] == .restored)
        #expect(words[1] == .contested(after: .seconds(1)))
        #expect(words.dropFirst(2).allSatisfy { $0 == nil })
    }

    @Test("a resource that stays for ten minutes is news again")
    func leftAloneForLongEnoughItIsNewsAgain() {
        var restorations = Restorations()
        let words = [0, 599, 1198, 1798, 1799].map { restorations.restored(vip, at: at($0)) }
        #expect(words == [.restored, .contested(after: .seconds(599)), nil, .restored, .contested(after: .seconds(1))])
    }

    @Test("each resource is logged by itself")
    func piecesAreToldApart() {
        var restorations = Restorations()
        #expect([vip, other].map { restorations.restored($0, at: at(1)) } == [.restored, .restored])
    }

    @Test("a failed repair is logged once, until the reason changes or ten minutes have passed")
    func aFailureIsSaidOnceUntilItIsAnotherOneOrOld() {
        var restorations = Restorations()
        func isLogged(_ resource: ManagedResource, _ reason: String, _ second: Int) -> Bool {
            restorations.failed(resource, reason, at: at(second))
        }
        #expect(isLogged(vip, "refused", 0))
        #expect(!isLogged(vip, "refused", 1))
        #expect(isLogged(vip, "no device", 2))
        #expect(isLogged(other, "no device", 3))
        #expect(!isLogged(vip, "no device", 601))
        #expect(isLogged(vip, "no device", 602))
        // After a repair the next failure is news.
        _ = restorations.restored(vip, at: at(603))
        #expect(isLogged(vip, "no device", 604))
    }
}
