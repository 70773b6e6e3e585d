public import Addresses
public import LoadBalancing
public import NIOCore
internal import NIOPosix
internal import Synchronization

/// The checker of real servers. Each question gets exactly one answer, at its time-out at the latest, whatever the peer
/// does. An answered question leaves no socket, timer or process.
///
/// `ProbeLoop` runs TCP connects and ICMP echoes: thousands at once, without a task, a channel or a timer for each.
/// `ProtocolChecks` runs checks that speak a protocol, run a program or read a file.
public struct Checker: Sendable {
    /// One run of a check against one real server.
    public struct Question: Sendable {
        /// The caller's number for the question, below 2^62. The answer has the same number.
        public var id: UInt64
        public var check: Check
        public var way: Check.Way
        /// The real server's own address, if the check also goes there directly at the same time, and else nil. The
        /// answer through the tunnel decides. The direct answer tells a broken tunnel from a broken service. The
        /// address is ignored if `way` is not the tunnel.
        public var beside: IPAddress?
        /// The time limit for the answer, from the start of the question.
        public var timeout: Duration
        /// The service to which the check belongs. Searches of response bodies take turns by service.
        public var service: ServiceAddress?

        public init(
            id: UInt64, check: Check, way: Check.Way, beside: IPAddress? = nil, timeout: Duration,
            service: ServiceAddress? = nil
        ) {
            self.id = id
            self.check = check
            self.way = way
            self.beside = beside
            self.timeout = timeout
            self.service = service
        }
    }

    /// The answer to a question.
    public struct Answer: Sendable {
        /// The question's number.
        public var id: UInt64
        public var way: Check.Way
        public var verdict: CheckVerdict
        /// The time from the start of the question to its verdict.
        public var latency: Duration

        public init(id: UInt64, way: Check.Way, verdict: CheckVerdict, latency: Duration) {
            self.id = id
            self.way = way
            self.verdict = verdict
            self.latency = latency
        }
    }

    private let group: any EventLoopGroup
    private let protocols: ProtocolChecks

    /// The event loops of all checkers that are created without a group. They are separate from NIO's singleton, whose
    /// loops serve the control socket.
    private static let ownGroup = MultiThreadedEventLoopGroup(numberOfThreads: System.coreCount)

    public init() { self.init(group: Self.ownGroup) }

    public init(group: any EventLoopGroup) {
        self.group = group
        protocols = ProtocolChecks(group: group)
    }

    /// Sends the questions, and returns at once. The ids of unanswered questions of one inbox must differ.
    public func ask(_ questions: [Question], answersTo inbox: Inbox) {
        var probes: [ProbeLoop.Question] = []
        probes.reserveCapacity(questions.count)
        for question in questions {
            if let server = question.beside, question.way.isTunnel {
                inbox.expectTwo(question.id, server: server)
                begin(question, as: .tunnel, by: question.way, inbox, &probes)
                begin(question, as: .direct, by: .direct(server), inbox, &probes)
            } else {
                begin(question, as: .only, by: question.way, inbox, &probes)
            }
        }
        ProbeLoop.shared.ask(probes, answersTo: inbox)
    }

    /// Sends one question, and waits for its answer. The question's id is ignored. Cancelling the task ends the
    /// question at once with a failure.
    public func ask(_ question: Question) async -> Answer {
        let promise = group.any().makePromise(of: Answer.self)
        let inbox = Inbox { answers in for answer in answers { promise.succeed(answer) } }
        ask([question], answersTo: inbox)
        return await withTaskCancellationHandler {
            do {
                return try await promise.futureResult.get()
            } catch {
                let failure = CheckVerdict.Failure(stage: .start, reason: "start: \(error)")
                return Answer(id: question.id, way: question.way, verdict: .failed(failure), latency: .zero)
            }
        } onCancel: {
            cancel([question.id], answersTo: inbox)
        }
    }

    /// Cancels the questions that have no answer yet. Each is answered at once with a failure.
    public func cancel(_ ids: Set<UInt64>, answersTo inbox: Inbox) {
        let names = ids.flatMap { id in Inbox.Part.allCases.map { $0.name(of: id) } }
        inbox.cancel(names)
        ProbeLoop.shared.cancel(Set(names), answersTo: inbox)
    }

    /// Starts one part of a question, or adds it to the probes for `ProbeLoop`.
    private func begin(
        _ question: Question, as part: Inbox.Part, by way: Check.Way, _ inbox: Inbox,
        _ probes: inout [ProbeLoop.Question]
    ) {
        let name = part.name(of: question.id)
        func ask(_ kind: ProbeLoop.Question.Kind) {
            probes.append(ProbeLoop.Question(id: name, kind: kind, way: way, timeout: question.timeout))
        }
        switch question.check {
        case .echo: ask(.ping)
        case .tcp(let check): ask(.tcp(port: check.port))
        default:
            inbox.begin(name) { completion in
                protocols.begin(
                    question.check, of: question.service, by: way, deadline: question.timeout
                ) { verdict, latency in
                    completion(Answer(id: name, way: way, verdict: verdict, latency: latency))
                }
            }
        }
    }
}

// MARK: Delivery of answers

extension Checker {
    /// The receiver of answers. It merges both answers of a question that goes both ways into one.
    public final class Inbox: Sendable {
        /// The part of a question that goes one way: the only way, the tunnel beside the direct way, or the direct way.
        /// A part's name takes the place of the question's id, and is unique among the unanswered parts.
        enum Part: UInt64, CaseIterable {
            case only, tunnel, direct

            /// The number of low bits of a name that hold the part. The question's id is above them.
            private static let bits: UInt64 = 2

            func name(of question: UInt64) -> UInt64 { question << Self.bits | rawValue }

            /// Splits a name into the question's id and the part.
            static func split(_ name: UInt64) -> (question: UInt64, part: Part?) {
                (name >> bits, Part(rawValue: name & (1 << bits - 1)))
            }
        }

        /// A question that goes both ways.
        private struct Pair {
            var server: IPAddress
            /// The answer that came first, with its part.
            var first: (part: Part?, answer: Answer)?
        }

        private struct Out {
            /// The questions that go both ways, by their ids.
            var pairs: [UInt64: Pair] = [:]
            /// The cancellations of protocol checks, by the parts' names. `ProbeLoop` cancels by the names alone.
            var running: [UInt64: ProtocolChecks.Cancellation] = [:]
        }

        private let deliver: @Sendable ([Answer]) -> Void
        private let out = Mutex(Out())

        /// Creates an inbox. `deliver` gets one or more answers at a time, and must not block its thread.
        public init(_ deliver: @escaping @Sendable ([Answer]) -> Void) { self.deliver = deliver }

        /// Returns an inbox and the stream of its answers. The stream ends when its consumer is cancelled.
        public static func makeStream() -> (inbox: Inbox, answers: AsyncStream<[Answer]>) {
            let (answers, continuation) = AsyncStream.makeStream(of: [Answer].self)
            return (Inbox { continuation.yield($0) }, answers)
        }

        /// Delivers answers that do not come from a `Checker`.
        public func answer(_ answers: [Answer]) {
            if !answers.isEmpty { deliver(answers) }
        }

        fileprivate func expectTwo(_ id: UInt64, server: IPAddress) {
            out.withLock { $0.pairs[id] = Pair(server: server) }
        }

        /// Starts a protocol check by `body`. The answer comes on another thread.
        fileprivate func begin(
            _ name: UInt64, _ body: (@escaping @Sendable (Answer) -> Void) -> ProtocolChecks.Cancellation
        ) {
            // The closure for the answer takes the same lock, so it runs only after the cancellation is stored.
            out.withLock { out in
                out.running[name] = body { answer in
                    self.out.withLock { $0.running[name] = nil }
                    self.answer([answer].compactMap(self.merged))
                }
            }
        }

        fileprivate func cancel(_ names: [UInt64]) {
            for cancel in out.withLock({ out in names.compactMap { out.running[$0] } }) { cancel() }
        }

        /// Returns the answer to a question, given the answer to one of its parts, whose id is the part's name. Returns
        /// nil while the other part's answer is missing.
        private func merged(_ answer: Answer) -> Answer? {
            let (id, part) = Part.split(answer.id)
            var answer = answer
            answer.id = id
            guard part != .only else { return answer }
            return out.withLock { out in
                guard let pair = out.pairs[id] else { return nil }
                guard let first = pair.first else {
                    out.pairs[id]?.first = (part, answer)
                    return nil
                }
                out.pairs[id] = nil
                var (tunnel, direct) = first.part == .tunnel ? (first.answer, answer) : (answer, first.answer)
                tunnel.verdict = Checker.verdict(
                    tunnel: tunnel.verdict, direct: direct.verdict, server: pair.server)
                return tunnel
            }
        }
    }
}

extension Checker.Inbox: ProbeLoop.Inbox {
    func deliver(_ answers: [ProbeLoop.Answer]) {
        answer(
            answers.compactMap {
                merged(
                    Checker.Answer(id: $0.question.id, way: $0.question.way, verdict: $0.verdict, latency: $0.latency))
            })
    }
}

// MARK: Verdict of both ways

extension Checker {
    /// Returns the verdict of a check that went both ways. The tunnel, which clients use, decides. The direct answer
    /// shows whether the tunnel or the service is broken.
    static func verdict(tunnel: CheckVerdict, direct: CheckVerdict, server: IPAddress) -> CheckVerdict {
        switch (tunnel, direct) {
        case (.passed, .passed):
            return tunnel
        case (.failed(let failure), _) where failure.isOwn:
            return tunnel
        case (_, .failed(let beside)) where beside.isOwn:
            return tunnel
        case (.passed(var pass), .failed(let failure)):
            pass.note = "it does not answer at \(server) itself: \(failure.reason)"
            return .passed(pass)
        case (.failed(var failure), .passed):
            failure.reason +=
                failure.hostAnswered
                ? ": the tunnel works, the service is dead on the VIP (but not on \(server))"
                : ": service answers, decapsulation dead (tunl0, its VIP or rp_filter on \(server))"
            return .failed(failure)
        case (.failed(var failure), .failed(let beside)):
            if failure.hostAnswered {
                failure.reason += ": the tunnel works, the service does not"
            } else {
                // A service may listen on the VIP alone. A refusal at the server's own address then proves nothing
                // about the service.
                let host =
                    beside.hostAnswered
                    ? "the host is up, the tunnel or the service is not" : "the host does not answer"
                failure.reason += "; \(server) itself: \(beside.reason): \(host)"
            }
            return .failed(failure)
        }
    }
}
