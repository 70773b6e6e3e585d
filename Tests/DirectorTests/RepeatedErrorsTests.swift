import Testing

@testable import HostState

/// Work that fails every second is spoken of once.
struct RepeatedErrorsTests {
    /// What is said of errors about two subjects.
    private final class Log {
        private let start = ContinuousClock.now
        private var errors = RepeatedErrors<String>()

        func isNews(_ subject: String, _ reason: String, _ second: Int) -> Bool {
            errors.isNews(subject, reason, at: start + .seconds(second))
        }

        func settle(_ subject: String) -> Bool { errors.settle(subject) }
    }

    @Test func theSameErrorIsLoggedOnce() {
        let log = Log()
        let logged = (0..<600).map { log.isNews("the route", "refused", $0) }
        #expect(logged.filter(\.self).count == 1 && logged[0])
        #expect(log.isNews("the route", "refused", 600))
        #expect(!log.isNews("the route", "refused", 601))
    }

    @Test func anotherReasonAndAnotherSubjectAreNews() {
        let log = Log()
        #expect(log.isNews("the route", "refused", 0))
        #expect(log.isNews("the route", "no device", 1))
        #expect(log.isNews("another route", "no device", 2))
        #expect(!log.isNews("the route", "no device", 3))
    }

    /// What went through all others for each of them took minutes.
    @Test func thousandsOfErrorsAtATimeAreNoMatter() {
        let log = Log()
        let began = ContinuousClock.now
        #expect((0..<20_000).allSatisfy { log.isNews("the route to \($0)", "refused", 0) })
        #expect(began.duration(to: .now) < .seconds(10))
    }

    @Test func anErrorAfterTheEndOfTheLastOneIsNews() {
        let log = Log()
        #expect(!log.settle("the route"))
        #expect(log.isNews("the route", "refused", 0))
        #expect(log.settle("the route"))
        #expect(!log.settle("the route"))
        #expect(log.isNews("the route", "refused", 1))
    }

    @Test func allElementsHaveTheirTurnAndTheFirstErrorIsThrown() {
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
