internal import CLinux
internal import Glibc
internal import Synchronization

/// Asks many real servers at once: TCP connects and ICMP echoes, all by one thread, without a task, a channel or a timer for
/// each of them. Every question gets one answer, at its time-out at the latest.
public final class ProbeLoop: Sendable {
    /// The process's own; its thread starts with the first question.
    public static let shared = ProbeLoop()

    public struct Question: Sendable {
        public enum Kind: Sendable {
            case ping
            case tcp(port: UInt16)
        }

        /// The asker's own, for telling answers apart.
        public var id: UInt64
        public var kind: Kind
        public var way: Prober.Way
        /// From the moment at which it goes out.
        public var timeout: Duration

        public init(id: UInt64, kind: Kind, way: Prober.Way, timeout: Duration) {
            self.id = id
            self.kind = kind
            self.way = way
            self.timeout = timeout
        }
    }

    public struct Answer: Sendable {
        public enum Outcome: Sendable, Equatable {
            case answered
            case timedOut
            /// An errno: the peer's (ECONNREFUSED, ECONNRESET), a router's, or the own machine's.
            case failed(Int32)
            /// It could not go out until its time-out, for want of ports, descriptors or memory of the own machine's: an
            /// errno. It says nothing about the peer.
            case notAsked(Int32)
        }

        public var question: Question
        public var outcome: Outcome
        /// From the first packet to the answer.
        public var latency: Duration
    }

    /// Where answers go: some at a time, in their order, on the loop's thread, which must not be kept.
    public final class Inbox: Sendable {
        let deliver: @Sendable ([Answer]) -> Void

        public init(_ deliver: @escaping @Sendable ([Answer]) -> Void) { self.deliver = deliver }
    }

    struct Submission: Sendable {
        var question: Question
        var inbox: Inbox
    }

    private struct Mailbox {
        var submissions: [Submission] = []
        /// Wakes the thread; -1: there is none yet.
        var bell: Int32 = -1
    }

    private let mailbox = Mutex(Mailbox())

    private init() {}

    /// Never waits. Where the process has no descriptors, or the machine no ports or memory left, questions wait: for one
    /// of the loop's own that ends, or as long as their time-out.
    public func ask(_ questions: [Question], answersTo inbox: Inbox) {
        guard !questions.isEmpty else { return }
        let failure: Int32? = mailbox.withLock { mailbox in
            if mailbox.bell < 0, let code = Self.start(self, &mailbox) { return code }
            let isFirst = mailbox.submissions.isEmpty
            mailbox.submissions += questions.lazy.map { Submission(question: $0, inbox: inbox) }
            if isFirst { eventfd_write(mailbox.bell, 1) }
            return nil
        }
        guard let failure else { return }
        inbox.deliver(questions.map { Answer(question: $0, outcome: .failed(failure), latency: .zero) })
    }

    /// What was submitted since the last time.
    func take() -> [Submission] {
        mailbox.withLock { mailbox in
            defer { mailbox.submissions.removeAll() }
            return mailbox.submissions
        }
    }

    /// nil, or an errno.
    private static func start(_ loop: ProbeLoop, _ mailbox: inout Mailbox) -> Int32? {
        let bell = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
        guard bell >= 0 else { return errno }
        let epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard epoll >= 0 else {
            let code = errno
            close(bell)
            return code
        }
        let failure = DetachedThread.start { ProbeThread(loop: loop, epoll: epoll, bell: bell).run() }
        guard failure == nil else {
            close(epoll)
            close(bell)
            return EAGAIN
        }
        mailbox.bell = bell
        return nil
    }
}

extension ProbeLoop.Answer {
    /// Nil where it was not asked.
    public var result: ProbeResult? {
        let probe: Probe =
            switch question.kind {
            case .ping: .ping
            case .tcp(let port): .tcp(port: port)
            }
        switch outcome {
        case .answered: return .success
        case .timedOut: return .failure("\(probe) \(question.way): no answer within \(question.timeout)")
        case .failed(let code):
            return .failure(
                "\(probe) \(question.way): \(String(cString: strerror(code)))", hostAnswered: code == ECONNREFUSED)
        case .notAsked: return nil
        }
    }

    /// Why it was not asked, where it was not.
    public var shortage: String? {
        if case .notAsked(let code) = outcome { OwnShortage.reason(code) } else { nil }
    }

    /// The same as a check's verdict; `stage` is what was waited for.
    func verdict(at stage: CheckStage) -> CheckVerdict {
        switch outcome {
        case .answered: .passed(CheckVerdict.Pass(latency: latency))
        case .timedOut:
            .failed(CheckVerdict.Failure(stage: stage, reason: "\(stage): timed out after \(question.timeout.seconds)"))
        case .failed(let code):
            .failed(
                CheckVerdict.Failure(
                    stage: stage, reason: "\(stage): \(String(cString: strerror(code)))",
                    hostAnswered: code == ECONNREFUSED))
        case .notAsked(let code):
            .failed(CheckVerdict.Failure(stage: .start, reason: OwnShortage.reason(code), isOwn: true))
        }
    }
}
