internal import CLinux
internal import Glibc
internal import Synchronization

/// The loop that probes many real servers at once, by TCP connects and ICMP echoes. It is a single thread, without a
/// task, a channel or a timer for each probe. Every question gets one answer. The time-out of a question begins when
/// its packet is sent.
final class ProbeLoop: Sendable {
    /// The loop of this process. Its thread starts with the first question.
    static let shared = ProbeLoop()

    struct Question: Sendable {
        enum Kind: Sendable {
            case ping
            case tcp(port: UInt16)
        }

        /// The caller's number for the question.
        var id: UInt64
        var kind: Kind
        var way: Check.Way
        /// The time limit for the answer, from the sending of the packet. For a packet that cannot be sent, it counts
        /// from the first attempt.
        var timeout: Duration
    }

    struct Answer: Sendable {
        enum Outcome: Sendable, Equatable {
            case answered
            case timedOut
            /// The probe failed with an errno, caused by the peer (ECONNREFUSED, ECONNRESET), a router or this machine.
            case failed(Int32)
            /// The probe could not be sent, for lack of something on this machine: ports, descriptors, memory, the
            /// thread or ipvsd0. The value is the errno. The outcome proves nothing about the peer.
            case notAsked(Int32)
            case cancelled
        }

        var question: Question
        var outcome: Outcome
        /// The time from the first packet to the answer.
        var latency: Duration
    }

    /// The receiver of answers. It gets one or more answers at a time, in their order, on the loop's thread. If that
    /// thread cannot be started, it gets them on the caller's thread. It must not block either thread.
    protocol Inbox: AnyObject, Sendable {
        func deliver(_ answers: [Answer])
    }

    struct Submission: Sendable {
        var question: Question
        var inbox: any Inbox
    }

    /// The cancellation of questions that were submitted before it.
    struct Cancellation: Sendable {
        var ids: Set<UInt64>
        var inbox: any Inbox

        func covers(_ submission: Submission) -> Bool {
            submission.inbox === inbox && ids.contains(submission.question.id)
        }
    }

    /// The submissions and cancellations that the thread has not handled yet, in their order.
    struct Mail: Sendable {
        var submissions: [Submission] = []
        /// The cancellations, each with the number of submissions before it.
        var cancellations: [(after: Int, cancellation: Cancellation)] = []

        var isEmpty: Bool { submissions.isEmpty && cancellations.isEmpty }
    }

    private struct Mailbox {
        var mail = Mail()
        /// The eventfd that wakes the thread, or -1 before the thread has started.
        var bell: Int32 = -1
    }

    private let mailbox = Mutex(Mailbox())

    private init() {}

    /// Submits questions, and returns at once. A question that lacks a descriptor, a port or memory is tried again
    /// until its time-out.
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

    /// Cancels the questions that have no answer yet.
    func cancel(_ ids: Set<UInt64>, answersTo inbox: any Inbox) {
        mailbox.withLock { mailbox in
            guard mailbox.bell >= 0 else { return }
            if mailbox.mail.isEmpty { eventfd_write(mailbox.bell, 1) }
            let cancellation = Cancellation(ids: ids, inbox: inbox)
            mailbox.mail.cancellations.append((mailbox.mail.submissions.count, cancellation))
        }
    }

    /// Returns and removes all mail.
    func collectMail() -> Mail {
        mailbox.withLock { mailbox in
            defer { mailbox.mail = Mail() }
            return mailbox.mail
        }
    }

    /// Starts the thread. Returns nil or an errno.
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
