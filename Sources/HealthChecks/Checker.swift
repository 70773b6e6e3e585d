public import Addresses
public import LoadBalancing
public import NIOCore
internal import NIOPosix

/// Asks real servers. Every question gets one answer, at its time-out at the latest, whatever the peer does, and leaves
/// nothing behind.
///
/// Connects and echoes need no task, channel or timer each: `ProbeLoop` asks thousands of them at once. What speaks a
/// protocol, or asks something of this machine, is a `ProtocolChecks`' business.
public struct Checker: Sendable {
    public struct Question: Sendable {
        /// The asker's own, for telling answers apart; below 2^62.
        public var id: UInt64
        public var check: Check
        public var way: Check.Way
        /// The real server's own address, where it is asked there, too, at the same time: the tunnel's answer counts, and
        /// the other one tells which half is broken. It says nothing where the way is no tunnel.
        public var beside: IPAddress?
        /// From the moment at which it goes out.
        public var timeout: Duration
        /// Whose it is: what it takes of this machine, it takes in turns with others'.
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

    public struct Answer: Sendable {
        /// The question's.
        public var id: UInt64
        public var way: Check.Way
        public var verdict: CheckVerdict
        /// From the start of the question to its verdict.
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

    /// Apart from NIO's own singleton, on whose event loops the control socket is served.
    private static let ownGroup = MultiThreadedEventLoopGroup(numberOfThreads: System.coreCount)

    public init() { self.init(group: Self.ownGroup) }

    public init(group: any EventLoopGroup) {
        self.group = group
        protocols = ProtocolChecks(group: group)
    }

    /// Never waits. No two questions that are out for the same inbox have the same id.
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

    /// The same for one; a cancelled task ends it at once, as a failure. The question's id is of no importance.
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

    /// Ends those of the questions that are still out, at once: each is answered, as a failure.
    public func cancel(_ ids: Set<UInt64>, answersTo inbox: Inbox) {
        let names = ids.flatMap { id in Inbox.Part.allCases.map { Inbox.name(of: id, $0) } }
        inbox.cancel(names)
        ProbeLoop.shared.cancel(Set(names), answersTo: inbox)
    }

    private func begin(
        _ question: Question, as part: Inbox.Part, by way: Check.Way, _ inbox: Inbox,
        _ probes: inout [ProbeLoop.Question]
    ) {
        let name = Inbox.name(of: question.id, part)
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
