import HealthChecks
import LoadBalancing
import Synchronization

@testable import Director

/// Answers checks at once, by what a test says of the real servers.
final class MemoryChecker: HealthChecker {
    private struct State {
        var dead: Set<IPv4Address> = []
        var asked: [IPv4Address: Int] = [:]
    }

    private let state = Mutex(State())
    /// The real server behind a check's mark.
    private let server: @Sendable (UInt32) -> IPv4Address?

    init(server: @escaping @Sendable (UInt32) -> IPv4Address?) { self.server = server }

    func kill(_ server: IPv4Address) { state.withLock { _ = $0.dead.insert(server) } }
    func revive(_ server: IPv4Address) { state.withLock { _ = $0.dead.remove(server) } }

    /// How often the real server was asked.
    func asked(_ server: IPv4Address) -> Int { state.withLock { $0.asked[server] ?? 0 } }

    func ask(_ questions: [Checker.Question], answersTo inbox: Checker.Inbox) {
        inbox.answer(questions.map(answer))
    }

    func ask(_ question: Checker.Question) async -> Checker.Answer { answer(question) }

    func cancel(_ ids: Set<UInt64>, answersTo inbox: Checker.Inbox) {}

    private func answer(_ question: Checker.Question) -> Checker.Answer {
        let asked: IPv4Address? =
            switch question.way {
            case .tunnel(_, let mark, _, _): server(mark)
            case .direct(let server): server
            }
        let isAlive = state.withLock { state in
            guard let asked else { return false }
            state.asked[asked, default: 0] += 1
            return !state.dead.contains(asked)
        }
        let verdict: CheckVerdict =
            isAlive
            ? .passed(.init(latency: .milliseconds(1)))
            : .failed(.init(stage: .connect, reason: "connect: connection refused", hostAnswered: true))
        return Checker.Answer(id: question.id, way: question.way, verdict: verdict, latency: .milliseconds(1))
    }
}
