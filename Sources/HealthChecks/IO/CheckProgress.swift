internal import Glibc
internal import LoadBalancing
internal import NIOCore

/// The progress of a running check: its stage and what is known so far. The check gives its verdict exactly once, at
/// the deadline at the latest. An instance is used on one event loop only.
final class CheckProgress {
    var stage: CheckStage
    /// Whether the host or its service has sent any answer.
    var hostAnswered = false
    /// Whether the failure is this machine's own.
    var isOwn = false
    /// The largest packet that is known to pass, or nil.
    var pathMTU: Int?
    /// The outcome if the deadline comes first. Nil: that is a time-out.
    var silence: Outcome?
    /// The shortage of this machine that explains a missing answer at the deadline, or nil while the check waits for
    /// the peer.
    private var shortage: String?
    /// Closes the connection or stops the work, without waiting for a peer.
    var hangUp: (() -> Void)?
    private(set) var isOver = false
    /// Whether the peer's part is complete. A closed connection is not a failure then.
    private var isPeerDone = false

    let eventLoop: any EventLoop
    /// The service to which the check belongs.
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

    /// Ends the check as cancelled, which proves nothing about the real server.
    func cancel() {
        isOwn = true
        end(.failed(CheckVerdict.cancelled))
    }

    private var latency: Duration { .nanoseconds((NIODeadline.now() - began).nanoseconds) }

    /// Fails the check for a reason on the peer's side, unless the peer's part is complete.
    func fail(_ reason: String) {
        if !isPeerDone { end(.failed(reason)) }
    }

    /// Fails the check for a shortage of this machine, unless the peer's part is complete.
    func failForShortage(of problem: String) {
        if !isPeerDone { endForShortage(of: problem) }
    }

    /// Fails the check for a shortage of this machine, even after the peer's part is complete.
    func endForShortage(of problem: String) {
        isOwn = true
        end(.failed(OwnShortage.reason(problem)))
    }

    /// Fails the check by an error in its present stage.
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

    /// Closes the connection before the verdict.
    func releasePeer() {
        isPeerDone = true
        let hangUp = hangUp
        self.hangUp = nil
        hangUp?()
    }

    /// Runs work that may block on other threads. `problem` is the shortage to report if the deadline comes before the
    /// work is done.
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
