import DataPlane
import Testing

@testable import Director

/// What is said of pieces that go missing: somebody who keeps taking one away is named once.
struct RestorationsTests {
    private let start = ContinuousClock.now
    private let vip = ManagedResource("address 10.0.0.100/32 on eth0")
    private let other = ManagedResource("sysctl net.ipv4.conf.ipvsd0.forwarding")

    private func at(_ seconds: Int) -> ContinuousClock.Instant { start + .seconds(seconds) }

    @Test func theManagedResourceThatGoesEverySecondIsSpokenOfTwice() {
        var restorations = Restorations()
        let words = (0..<1000).map { restorations.restored(vip, at: at($0)) }
        #expect(words[0] == .restored)
        #expect(words[1] == .contested(after: .seconds(1)))
        #expect(words.dropFirst(2).allSatisfy { $0 == nil })
    }

    @Test func leftAloneForLongEnoughItIsNewsAgain() {
        var restorations = Restorations()
        let words = [0, 599, 1198, 1798, 1799].map { restorations.restored(vip, at: at($0)) }
        #expect(words == [.restored, .contested(after: .seconds(599)), nil, .restored, .contested(after: .seconds(1))])
    }

    @Test func piecesAreToldApart() {
        var restorations = Restorations()
        #expect([vip, other].map { restorations.restored($0, at: at(1)) } == [.restored, .restored])
    }

    @Test func aFailureIsSaidOnceUntilItIsAnotherOneOrOld() {
        var restorations = Restorations()
        func isSaid(_ resource: ManagedResource, _ reason: String, _ second: Int) -> Bool {
            restorations.failed(resource, reason, at: at(second))
        }
        #expect(isSaid(vip, "refused", 0))
        #expect(!isSaid(vip, "refused", 1))
        #expect(isSaid(vip, "no device", 2))
        #expect(isSaid(other, "no device", 3))
        #expect(!isSaid(vip, "no device", 601))
        #expect(isSaid(vip, "no device", 602))
        // Put back meanwhile: the next failure is a new one.
        _ = restorations.restored(vip, at: at(603))
        #expect(isSaid(vip, "no device", 604))
    }
}
