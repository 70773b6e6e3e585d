import Addresses
import HealthChecks
import LoadBalancing
import Synchronization

@testable import Director

/// A checker that answers at once, from the states of real servers and packet filters that a test sets.
final class MemoryChecker: HealthChecker {
    private struct State {
        var dead: Set<IPAddress> = []
        /// The ports on which real servers do not answer.
        var silentPorts: [IPAddress: Set<UInt16>] = [:]
        /// The ports that real servers refuse.
        var closedPorts: [IPAddress: Set<UInt16>] = [:]
        var asked: [IPAddress: Int] = [:]
    }

    private let state = Mutex(State())
    private let plane: MemoryDataPlane

    init(plane: MemoryDataPlane) { self.plane = plane }

    func kill(_ server: IPAddress) { state.withLock { _ = $0.dead.insert(server) } }
    func revive(_ server: IPAddress) { state.withLock { _ = $0.dead.remove(server) } }

    func silence(port: UInt16, of server: IPAddress) {
        state.withLock { _ = $0.silentPorts[server, default: []].insert(port) }
    }

    func close(port: UInt16, of server: IPAddress) {
        state.withLock { state in
            state.silentPorts[server]?.remove(port)
            state.closedPorts[server, default: []].insert(port)
        }
    }

    /// Returns the number of questions to the real server.
    func questions(to server: IPAddress) -> Int { state.withLock { $0.asked[server] ?? 0 } }

    func ask(_ questions: [Checker.Question], answersTo inbox: Checker.Inbox) {
        inbox.answer(questions.map(answer))
    }

    func ask(_ question: Checker.Question) async -> Checker.Answer { answer(question) }

    func cancel(_ ids: Set<UInt64>, answersTo inbox: Checker.Inbox) {}

    private func answer(_ question: Checker.Question) -> Checker.Answer {
        let asked: IPAddress? =
            switch question.way {
            case .tunnel(_, let mark, _, _): plane.server(ofMark: mark)
            case .direct(let server): server
            }
        let port: UInt16? = if case .tcp(let check) = question.check { check.port } else { nil }
        let refused = CheckVerdict.failed(
            .init(stage: .connect, reason: "connect: connection refused", hostAnswered: true))
        var verdict = state.withLock { state -> CheckVerdict in
            guard let asked else { return refused }
            state.asked[asked, default: 0] += 1
            if let port, state.silentPorts[asked]?.contains(port) == true {
                return .failed(.init(stage: .connect, reason: "connect: timed out"))
            }
            if let port, state.closedPorts[asked]?.contains(port) == true { return refused }
            return state.dead.contains(asked) ? refused : .passed(.init(latency: .milliseconds(1)))
        }
        // A refusal is an answer, and silence is none.
        var isAnswered = true
        if case .failed(let failure) = verdict { isAnswered = failure.hostAnswered }
        if case .tunnel(_, let mark, _, _) = question.way, !plane.carryCheck(mark: mark, isAnswered: isAnswered) {
            verdict = .failed(.init(stage: .connect, reason: "connect: timed out"))
        }
        return Checker.Answer(id: question.id, way: question.way, verdict: verdict, latency: .zero)
    }
}
