import LoadBalancing
import Testing

/// The conditions of a real server's effective weight.
struct EffectiveWeightTests {
    typealias Condition = EffectiveWeight.Condition

    @Test(
        "the conditions of a server decide its standing and weight",
        arguments: [
            // Up, asked, drained, inhibits, replaced; then standing and weight.
            (true, nil, false, false, false, EffectiveWeight.Standing.listed, 4),
            (true, 9, false, false, false, .listed, 9),
            (true, 0, false, false, false, .listed, 0),
            (true, 9, true, false, false, .listed, 0),
            (true, nil, false, false, true, .standby, 0),
            (true, nil, true, false, true, .standby, 0),
            (false, 9, false, false, false, .down, 0),
            (false, nil, true, false, true, .down, 0),
            (false, 9, false, true, false, .listed, 0),
            (false, 9, false, true, true, .standby, 0),
        ] as [(Bool, UInt16?, Bool, Bool, Bool, EffectiveWeight.Standing, UInt16)])
    func decides(
        isUp: Bool, asked: UInt16?, isDrained: Bool, inhibits: Bool, isReplaced: Bool,
        standing: EffectiveWeight.Standing, weight: UInt16
    ) {
        let condition = Condition(configured: 4, isUp: isUp, asked: asked, isDrained: isDrained, tenths: 3)
        let effective = EffectiveWeight(of: condition, inhibits: inhibits, isReplaced: isReplaced)
        #expect(effective.standing == standing)
        #expect(effective.weight == weight)
        // Slow start reduces the shown weight, and nothing else does.
        #expect(abs(effective.shown - Double(weight) * 0.3) < 1e-9)
        #expect(condition.usable == (isUp && !isDrained ? asked ?? 4 : 0))
    }

    @Test("a sorry server has a weight only while it serves")
    func sorryServersHaveAWeightWhileTheyServe() {
        #expect(EffectiveWeight.sorryServer(serves: true).shown == 1)
        #expect(EffectiveWeight.sorryServer(serves: false).standing == .standby)
    }

    @Test("the tenths of slow start begin at their times")
    func tenthsOfSlowStart() {
        for seconds in [1, 7, 30, 3600] {
            let duration = Duration.seconds(seconds)
            #expect(SlowStart.tenths(after: .zero, of: duration) == 1)
            #expect(SlowStart.tenths(after: .seconds(-1), of: duration) == 1)
            for tenths in 2...10 {
                let time = SlowStart.time(ofTenths: tenths, of: duration)
                #expect(SlowStart.tenths(after: time, of: duration) == tenths)
                #expect(SlowStart.tenths(after: time - .nanoseconds(1), of: duration) == tenths - 1)
            }
            #expect(SlowStart.tenths(after: duration * 2, of: duration) == 10)
        }
    }
}
