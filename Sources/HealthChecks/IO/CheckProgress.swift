internal import Glibc
internal import LoadBalancing
internal import NIOCore

/// One check on its way: how far it came, and its verdict, which is given once and at the deadline at the latest. Lives on
/// one event loop.
final class CheckProgress {
    var stage: CheckStage
    /// The host, or its service, has said something.
    var hostAnswered = false
    /// It failed for shortage of something of this machine's own.
    var isOwn = false
    /// What is known of the largest packet that passes.
    var pathMTU: Int?
    /// What reaching the deadline means, where it is no failure.
    var silence: Outcome?
    /// What this machine lacks at the deadline, where that is why there is no answer.
    private var shortage: String?
    /// Ends whatever is under way, without waiting for any peer.
    var hangUp: (() -> Void)?
    private(set) var isOver = false
    /// The peer has said all that was asked of it; that it is gone is no failure any more.
    private var isPeerDone = false

    let eventLoop: any EventLoop
    /// Whose check it is.
    let service: ServiceAddress?
    private let timeout: Duration
    private let began: NIODeadline
    private let completion: (CheckVerdict, Duration) -> Void
    private var deadline: Scheduled<Void>?

    init(
        stage: CheckStage, service: ServiceAddress? = nil, began: NIODeadline, timeout: Duration,
        eventLoop: any EventLoop, completion: @escaping (CheckVerdict, Duration) -> Void
    ) {
        self.stage = stage
        self.service = service
        self.began = began
        self.timeout = timeout
        self.eventLoop = eventLoop
        self.completion = completion
        deadline = eventLoop.assumeIsolated().scheduleTask(deadline: began + timeout.timeAmount) { self.expire() }
    }

    private func expire() {
        if let shortage { return endForShortage(of: shortage) }
        end(silence ?? .failed("\(stage): timed out after \(timeout.seconds)"))
    }

    func pass(weight: Int? = nil, pathMTU: Int? = nil, note: String? = nil) {
        end(.passed(CheckVerdict.Pass(latency: latency, weight: weight, pathMTU: pathMTU, note: note)))
    }

    /// Whoever asked wants no answer any more.
    func cancel() {
        isOwn = true
        end(.failed(CheckVerdict.cancelled))
    }

    private var latency: Duration { .nanoseconds((NIODeadline.now() - began).nanoseconds) }

    /// What the peer did, or what became of it.
    func fail(_ reason: String) {
        if !isPeerDone { end(.failed(reason)) }
    }

    /// What this machine lacks that asking takes.
    func failForShortage(of problem: String) {
        if !isPeerDone { endForShortage(of: problem) }
    }

    /// The same, whatever the peer has said.
    func endForShortage(of problem: String) {
        isOwn = true
        end(.failed(OwnShortage.reason(problem)))
    }

    /// What an operation of the present stage failed by.
    func fail(by error: any Error) {
        let code = (error as? IOError)?.errnoCode ?? 0
        if code == ECONNREFUSED { hostAnswered = true }
        if OwnShortage.codes.contains(code) { return failForShortage(of: String(cString: strerror(code))) }
        fail("\(stage): \(CheckErrorText.text(error))")
    }

    func end(_ outcome: Outcome) {
        switch outcome {
        case .passed: pass()
        case .failed(let reason):
            end(
                .failed(
                    CheckVerdict.Failure(
                        stage: stage, reason: reason, hostAnswered: hostAnswered, pathMTU: pathMTU, isOwn: isOwn)))
        }
    }

    /// Hangs up, with the verdict yet to come.
    func releasePeer() {
        isPeerDone = true
        let hangUp = hangUp
        self.hangUp = nil
        hangUp?()
    }

    /// Has threads do work that has no place on an event loop. `shortage` is what this machine lacked where the deadline comes
    /// before the work is done, and the check was not asked.
    func run<Key, Result: Sendable>(
        on threads: WorkThreads<Key>, _ key: Key, shortage problem: String,
        _ work: @escaping @Sendable () -> Result, completion: @escaping @Sendable (CheckProgress, Result) -> Void
    ) {
        let eventLoop = eventLoop
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        let ticket = threads.run(key) {
            let result = work()
            eventLoop.execute {
                bound.value.shortage = nil
                completion(bound.value, result)
            }
        }
        shortage = problem
        hangUp = { threads.withdraw(ticket) }
    }

    private func end(_ result: CheckVerdict) {
        guard !isOver else { return }
        isOver = true
        shortage = nil
        deadline?.cancel()
        deadline = nil
        releasePeer()
        completion(result, latency)
    }
}
