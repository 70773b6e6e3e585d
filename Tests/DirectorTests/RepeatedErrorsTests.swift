import Testing

@testable import HostState

/// The log lines of work that fails again and again.
struct RepeatedErrorsTests {
    /// The decisions on log lines, with times in seconds.
    private final class Log {
        private let start = ContinuousClock.now
        private var errors = RepeatedErrors<String>()

        func isNews(_ subject: String, _ reason: String, _ second: Int) -> Bool {
            errors.isNews(subject, reason, at: start + .seconds(second))
        }

        func settle(_ subject: String) -> Bool { errors.settle(subject) }
    }

    @Test("the same error is logged once in ten minutes")
    func theSameErrorIsLoggedOnce() {
        let log = Log()
        let logged = (0..<600).map { log.isNews("the route", "refused", $0) }
        #expect(logged.filter(\.self).count == 1)
        #expect(logged[0])
        #expect(log.isNews("the route", "refused", 600))
        #expect(!log.isNews("the route", "refused", 601))
    }

    @Test("another reason and another subject are news")
    func anotherReasonAndAnotherSubjectAreNews() {
        let log = Log()
        #expect(log.isNews("the route", "refused", 0))
        #expect(log.isNews("the route", "no device", 1))
        #expect(log.isNews("another route", "no device", 2))
        #expect(!log.isNews("the route", "no device", 3))
    }

    /// A search through all subjects for each error would take minutes.
    @Test("20,000 errors at a time take less than ten seconds")
    func thousandsOfErrorsAtATimeAreNoMatter() {
        let log = Log()
        let began = ContinuousClock.now
        #expect((0..<20_000).allSatisfy { log.isNews("the route to \($0)", "refused", 0) })
        #expect(began.duration(to: .now) < .seconds(10))
    }

    @Test("an error after the end of the last one is news")
    func anErrorAfterTheEndOfTheLastOneIsNews() {
        let log = Log()
        #expect(!log.settle("the route"))
        #expect(log.isNews("the route", "refused", 0))
        #expect(log.settle("the route"))
        #expect(!log.settle("the route"))
        #expect(log.isNews("the route", "refused", 1))
    }

    @Test("an error skips no element, and the first error is thrown")
    func allElementsHaveTheirTurnAndTheFirstErrorIsThrown() {
        struct Failure: Error, Equatable { var number: Int }
        var seen: [Int] = []
        #expect(throws: Failure(number: 2)) {
            try (1...5).forEachDespiteErrors { number in
                seen.append(number)
                if number.isMultiple(of: 2) { throw Failure(number: number) }
            }
        }
        #expect(seen == [1, 2, 3, 4, 5])
    }
}
