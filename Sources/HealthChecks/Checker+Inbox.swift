internal import Addresses
internal import LoadBalancing
internal import Synchronization

extension Checker {
    /// Where answers go: some at a time, on threads that must not be kept.
    public final class Inbox: Sendable {
        /// A question may be two on its way.
        enum Part: UInt64, CaseIterable { case only, tunnel, direct }

        private struct Pair {
            var server: IPAddress
            /// The one that came first, and which it is.
            var first: (part: Part?, answer: Answer)?
        }

        private struct Out {
            /// Questions that are asked both ways, by their ids.
            var pairs: [UInt64: Pair] = [:]
            /// What ends them, by the parts' names; the loop knows of its own.
            var running: [UInt64: ProtocolChecks.Cancellation] = [:]
        }

        private let deliver: @Sendable ([Answer]) -> Void
        private let out = Mutex(Out())

        public init(_ deliver: @escaping @Sendable ([Answer]) -> Void) { self.deliver = deliver }

        /// Delivers answers to questions that another one than `Checker` was asked.
        public func answer(_ answers: [Answer]) { pass(answers) }

        /// Of a part, among all that are out.
        static func name(of id: UInt64, _ part: Part) -> UInt64 { id << 2 | part.rawValue }

        func expectTwo(_ id: UInt64, server: IPAddress) { out.withLock { $0.pairs[id] = Pair(server: server) } }

        /// `body` begins a check, whose answer comes later, on another thread.
        func begin(
            _ name: UInt64, _ body: (@escaping @Sendable (Answer) -> Void) -> ProtocolChecks.Cancellation
        ) {
            // Under the lock, which the answer has to take: it cannot come before it is known that it is awaited.
            out.withLock { out in
                out.running[name] = body { answer in
                    self.out.withLock { $0.running[name] = nil }
                    self.pass([answer].compactMap(self.whole))
                }
            }
        }

        func cancel(_ names: [UInt64]) {
            for cancel in out.withLock({ out in names.compactMap { out.running[$0] } }) { cancel() }
        }

        fileprivate func pass(_ answers: [Answer]) {
            if !answers.isEmpty { deliver(answers) }
        }

        /// The answer to the question, once all of it is there; what comes in is by its part's name.
        fileprivate func whole(_ answer: Answer) -> Answer? {
            let part = Part(rawValue: answer.id & 3)
            var answer = answer
            answer.id >>= 2
            guard part != .only else { return answer }
            return out.withLock { out in
                guard let pair = out.pairs[answer.id] else { return nil }
                guard let first = pair.first else {
                    out.pairs[answer.id]?.first = (part, answer)
                    return nil
                }
                out.pairs[answer.id] = nil
                var (tunnel, direct) = first.part == .tunnel ? (first.answer, answer) : (answer, first.answer)
                tunnel.verdict = BothWays.verdict(
                    tunnel: tunnel.verdict, direct: direct.verdict, server: pair.server)
                return tunnel
            }
        }
    }
}

extension Checker.Inbox: ProbeLoop.Inbox {
    func deliver(_ answers: [ProbeLoop.Answer]) {
        pass(
            answers.compactMap {
                whole(
                    Checker.Answer(id: $0.question.id, way: $0.question.way, verdict: $0.verdict, latency: $0.latency))
            })
    }
}
