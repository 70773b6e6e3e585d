internal import CLinux
internal import Glibc
internal import Synchronization

/// Asks many real servers at once: TCP connects and ICMP echoes, all by one thread, without a task, a channel or a timer for
/// each of them. Every question gets one answer, at its time-out at the latest.
final class ProbeLoop: Sendable {
    /// The process's own; its thread starts with the first question.
    static let shared = ProbeLoop()

    struct Question: Sendable {
        enum Kind: Sendable {
            case ping
            case tcp(port: UInt16)
        }

        /// The asker's own, for telling answers apart.
        var id: UInt64
        var kind: Kind
        var way: Check.Way
        /// From the moment at which it goes out.
        var timeout: Duration
    }

    struct Answer: Sendable {
        enum Outcome: Sendable, Equatable {
            case answered
            case timedOut
            /// An errno: the peer's (ECONNREFUSED, ECONNRESET), a router's, or the own machine's.
            case failed(Int32)
            /// It could not go out until its time-out, for want of ports, descriptors or memory of the own machine's: an
            /// errno. It says nothing about the peer.
            case notAsked(Int32)
            case cancelled
        }

        var question: Question
        var outcome: Outcome
        /// From the first packet to the answer.
        var latency: Duration
    }

    /// Where answers go: some at a time, in their order, on the loop's thread, which must not be kept.
    protocol Inbox: AnyObject, Sendable {
        func deliver(_ answers: [Answer])
    }

    struct Submission: Sendable {
        var question: Question
        var inbox: any Inbox
    }

    /// Of questions that came before it.
    struct Cancellation: Sendable {
        var ids: Set<UInt64>
        var inbox: any Inbox

        func covers(_ submission: Submission) -> Bool {
            submission.inbox === inbox && ids.contains(submission.question.id)
        }
    }

    /// In the order in which it came.
    struct Mail: Sendable {
        var submissions: [Submission] = []
        /// And how many of the submissions came before each.
        var cancellations: [(after: Int, cancellation: Cancellation)] = []

        var isEmpty: Bool { submissions.isEmpty && cancellations.isEmpty }
    }

    private struct Mailbox {
        var mail = Mail()
        /// Wakes the thread; -1: there is none yet.
        var bell: Int32 = -1
    }

    private let mailbox = Mutex(Mailbox())

    private init() {}

    /// Never waits. Where the process has no descriptors, or the machine no ports or memory left, questions wait: for one
    /// of the loop's own that ends, or as long as their time-out.
    func ask(_ questions: [Question], answersTo inbox: any Inbox) {
        guard !questions.isEmpty else { return }
        let failure: Int32? = mailbox.withLock { mailbox in
            if mailbox.bell < 0, let code = Self.start(self, &mailbox) { return code }
            if mailbox.mail.isEmpty { eventfd_write(mailbox.bell, 1) }
            mailbox.mail.submissions += questions.lazy.map { Submission(question: $0, inbox: inbox) }
            return nil
        }
        guard let failure else { return }
        inbox.deliver(questions.map { Answer(question: $0, outcome: .notAsked(failure), latency: .zero) })
    }

    /// Ends those of the questions that are still out or wait, at once.
    func cancel(_ ids: Set<UInt64>, answersTo inbox: any Inbox) {
        mailbox.withLock { mailbox in
            guard mailbox.bell >= 0 else { return }
            if mailbox.mail.isEmpty { eventfd_write(mailbox.bell, 1) }
            let cancellation = Cancellation(ids: ids, inbox: inbox)
            mailbox.mail.cancellations.append((mailbox.mail.submissions.count, cancellation))
        }
    }

    /// What came since the last time.
    func collectMail() -> Mail {
        mailbox.withLock { mailbox in
            defer { mailbox.mail = Mail() }
            return mailbox.mail
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
    var verdict: CheckVerdict {
        let stage: CheckStage = if case .ping = question.kind { .answer } else { .connect }
        return switch outcome {
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
        case .cancelled:
            .failed(CheckVerdict.Failure(stage: stage, reason: CheckVerdict.cancelled, isOwn: true))
        }
    }
}
