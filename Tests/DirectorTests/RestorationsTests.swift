import LoadBalancing
import Testing

@testable import Director

/// What is said of pieces that go missing: somebody who keeps taking one away is named once.
struct RestorationsTests {
    private let start = ContinuousClock.now
    private let vip = Piece.address(IPv4Address(0x0A00_0064), interface: "eth0")
    private let other = Piece.sysctl("net/ipv4/conf/ipvsd0/forwarding")

    private func at(_ seconds: Int) -> ContinuousClock.Instant { start + .seconds(seconds) }

    @Test func thePieceThatGoesEverySecondIsSpokenOfTwice() {
        var restorations = Restorations()
        let words = (0..<1000).map { restorations.restored(vip, at: at($0)) }
        #expect(words[0] == .restored)
        #expect(words[1] == .contested(after: .seconds(1)))
        #expect(words.dropFirst(2).allSatisfy { $0 == nil })
    }

    @Test func leftAloneForLongEnoughItIsNewsAgain() {
        var restorations = Restorations()
        #expect(restorations.restored(vip, at: at(0)) == .restored)
        #expect(restorations.restored(vip, at: at(599)) == .contested(after: .seconds(599)))
        #expect(restorations.restored(vip, at: at(1198)) == nil)
        #expect(restorations.restored(vip, at: at(1798)) == .restored)
        #expect(restorations.restored(vip, at: at(1799)) == .contested(after: .seconds(1)))
    }

    @Test func piecesAreToldApart() {
        var restorations = Restorations()
        #expect(restorations.restored(vip, at: at(0)) == .restored)
        #expect(restorations.restored(other, at: at(1)) == .restored)
    }

    @Test func aFailureIsSaidOnceUntilItIsAnotherOneOrOld() {
        var restorations = Restorations()
        #expect(restorations.failed(vip, "refused", at: at(0)))
        #expect(!restorations.failed(vip, "refused", at: at(1)))
        #expect(restorations.failed(vip, "no device", at: at(2)))
        #expect(restorations.failed(other, "no device", at: at(3)))
        #expect(!restorations.failed(vip, "no device", at: at(601)))
        #expect(restorations.failed(vip, "no device", at: at(602)))
        // Put back meanwhile: the next failure is a new one.
        #expect(restorations.restored(vip, at: at(603)) == .restored)
        #expect(restorations.failed(vip, "no device", at: at(604)))
    }

    @Test func namesAreThoseThatOperatorsKnow() {
        #expect("\(vip)" == "address 10.0.0.100/32 on eth0")
        #expect("\(other)" == "sysctl net.ipv4.conf.ipvsd0.forwarding")
        #expect("\(Piece.checkDevice)" == "device ipvsd0 (with its peer ipvsd1)")
    }
}
