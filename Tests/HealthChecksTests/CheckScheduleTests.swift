import TestSupport
import Testing

@testable import HealthChecks

/// The schedule of questions, with a clock that the tests set.
struct CheckScheduleTests {
    private let start = ContinuousClock.now
    private let pace = CheckSchedule.Pace(interval: .seconds(1), fastInterval: .milliseconds(300))

    private func at(_ milliseconds: Int) -> ContinuousClock.Instant { start + .milliseconds(milliseconds) }

    /// Advances the clock in steps of a millisecond. Returns the start times of each question's rounds, each of which
    /// takes `length` milliseconds.
    private func run(
        _ schedule: inout CheckSchedule, milliseconds: Range<Int>, length: Int = 0,
        isInTransition: (Int) -> Bool = { _ in false }
    ) -> [Int: [Int]] {
        var begun: [Int: [Int]] = [:]
        var ends: [Int: [Int]] = [:]
        for now in milliseconds {
            for key in schedule.takeDue(at: at(now)) {
                begun[key, default: []].append(now)
                ends[now + length, default: []].append(key)
            }
            for key in ends[now] ?? [] { schedule.finish(key, isInTransition: isInTransition(now), at: at(now)) }
        }
        return begun
    }

    @Test("a few questions start at once, and then once in an interval")
    func aFewAreAskedAtOnceAndThenOnceAnInterval() {
        var schedule = CheckSchedule(origin: start)
        schedule.add((1...3).map { ($0, pace) }, at: start)
        let begun = run(&schedule, milliseconds: 0..<5000, length: 5)
        for key in 1...3 {
            let times = begun[key] ?? []
            #expect((times.first ?? .max) < 5, "the first round waits")
            #expect((5...6).contains(times.count), "\(times)")
            // From the second round on, the question is in its phase.
            for (one, next) in zip(times.dropFirst(), times.dropFirst(2)) { #expect((999...1001).contains(next - one)) }
            #expect(times[1] - times[0] <= 1001)
        }
    }

    @Test("ten thousand questions are spread evenly, also at the start")
    func tenThousandComeEvenly() {
        let slow = CheckSchedule.Pace(interval: .seconds(2), fastInterval: .milliseconds(600))
        var schedule = CheckSchedule(origin: start)
        schedule.add((1...10_000).map { ($0, slow) }, at: start)
        var perTenth: [Int: Int] = [:]
        var last: [Int: Int] = [:]
        for now in 0..<8000 {
            for key in schedule.takeDue(at: at(now)) {
                perTenth[now / 100, default: 0] += 1
                if let before = last[key] { #expect(now - before <= 2001) }
                last[key] = now
                schedule.finish(key, isInTransition: false, at: at(now))
            }
        }
        #expect(last.count == 10_000)
        // 5,000 questions a second are 500 in 100 ms. In the first two seconds, first rounds and phases come together.
        let counts = (0..<80).map { perTenth[$0] ?? 0 }
        #expect(counts[..<20].allSatisfy { (450...1100).contains($0) }, "\(counts)")
        #expect(counts[20...].allSatisfy { (480...520).contains($0) }, "\(counts)")
    }

    @Test("the same questions have the same phases")
    func theSameQuestionsHaveTheSamePhases() {
        var times: [[Int: [Int]]] = []
        for _ in 0..<2 {
            var schedule = CheckSchedule(origin: start)
            schedule.add((1...50).map { ($0, pace) }, at: start)
            times.append(run(&schedule, milliseconds: 0..<3000))
        }
        #expect(times[0] == times[1])
    }

    @Test("the fast interval applies while a verdict is near, and the old phase afterwards")
    func fasterWhileAVerdictIsNear() {
        var schedule = CheckSchedule(origin: start)
        schedule.add([(1, pace)], at: start)
        let begun = run(&schedule, milliseconds: 0..<9000, length: 2) { (3000..<4400).contains($0) }[1] ?? []
        let phase = begun[1] % 1000
        let during = begun.filter { (3000..<4700).contains($0) }
        for (one, next) in zip(during, during.dropFirst()) { #expect((100...301).contains(next - one), "\(begun)") }
        #expect(during.count >= 5, "\(begun)")
        for time in begun where time > 5000 { #expect(abs(time % 1000 - phase) <= 1, "\(begun)") }
    }

    @Test("a round that waits for its time-out does not overlap the next one")
    func aLongRoundIsNotOverlapped() {
        var schedule = CheckSchedule(origin: start)
        schedule.add([(1, pace)], at: start)
        let begun = run(&schedule, milliseconds: 0..<6000, length: 700) { _ in true }[1] ?? []
        for (one, next) in zip(begun, begun.dropFirst()) { #expect((700...701).contains(next - one), "\(begun)") }
    }

    @Test("a removed question does not start again")
    func whatIsRemovedIsNotAsked() {
        var schedule = CheckSchedule(origin: start)
        schedule.add([(1, pace), (2, pace)], at: start)
        #expect(Set(schedule.takeDue(at: at(10))) == [1, 2])
        schedule.remove(1)
        schedule.finish(1, isInTransition: false, at: at(20))
        schedule.finish(2, isInTransition: false, at: at(20))
        let begun = run(&schedule, milliseconds: 20..<3000)
        #expect(begun[1] == nil)
        #expect((begun[2]?.count ?? 0) >= 2)
    }

    /// Each question must start about as often as its interval allows.
    @Test("no question starts early, and none is lost")
    func againstANaiveList() {
        var random = SplitMix(seed: 11)
        for _ in 0..<20 {
            var schedule = CheckSchedule(origin: start)
            var asked: [Int: Int] = [:]
            let paces = (0..<30).map { key in
                let interval = Int.random(in: 20...500, using: &random)
                let fast = Duration.milliseconds(interval / 2)
                return (key, CheckSchedule.Pace(interval: .milliseconds(interval), fastInterval: fast))
            }
            schedule.add(paces, at: start)
            for now in 0..<2000 {
                for key in schedule.takeDue(at: at(now)) {
                    asked[key, default: 0] += 1
                    schedule.finish(key, isInTransition: false, at: at(now))
                }
                if let due = schedule.nextDue { #expect(due > at(now)) }
            }
            for (key, pace) in paces {
                let expected = Int(Duration.seconds(2) / pace.interval)
                #expect((expected...expected + 2).contains(asked[key] ?? 0), "\(pace): \(asked[key] ?? 0)")
            }
        }
    }
}
