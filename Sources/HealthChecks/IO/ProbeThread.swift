internal import CLinux
internal import DequeModule
internal import Glibc
internal import HeapModule
internal import LoadBalancing

/// The thread of a `ProbeLoop`. All methods run on it.
final class ProbeThread {
    /// A question whose packet was sent.
    private struct Pending {
        var submission: ProbeLoop.Submission
        /// The time of the sending, in nanoseconds of the monotonic clock.
        var began: UInt64
        /// The socket of a connection, or -1 for an echo.
        var descriptor: Int32
    }

    /// A question that could not be sent, for lack of a resource of this machine.
    private struct Held {
        var submission: ProbeLoop.Submission
        /// The time of the first attempt, in nanoseconds of the monotonic clock.
        var since: UInt64
        /// The errno of the last attempt.
        var code: Int32

        var deadline: UInt64 { since + submission.question.timeout.nanoseconds }
    }

    /// The time limit of one question.
    private struct Deadline: Comparable {
        /// The end of the time limit, in nanoseconds of the monotonic clock.
        var time: UInt64
        var slot: Slot

        static func < (one: Deadline, other: Deadline) -> Bool { one.time < other.time }
    }

    /// The time between two attempts to send held questions, in nanoseconds.
    private static let retryPeriod = UInt64(20_000_000)
    /// The most held questions in one attempt, so that new questions do not wait long.
    private static let retriesAtOnce = 256

    // The keys of epoll events: the bell's, an echo socket's descriptor with `echoBit`, or the slot of a connection.
    private static let bellKey = UInt64.max
    private static let echoBit = UInt64(1) << 63
    /// The most connections at once. There are some 28,000 ephemeral ports (ip(7), ip_local_port_range).
    private static let maximumConnections = 16_384
    /// The number of descriptors that the rest of the process keeps.
    private static let reserve = 256

    private let loop: ProbeLoop
    private let epoll: Int32
    private let bell: Int32
    private let connectionLimit: Int
    private var connections = 0
    private var slots = Slots<Pending>()
    private var deadlines = Heap<Deadline>()
    private var echoes: EchoSockets
    /// The questions that were not tried yet, as there are `connectionLimit` connections, or too few descriptors.
    private var waiting: Deque<ProbeLoop.Submission> = []
    private var held: [Held] = []
    /// The time of the next attempt to send held questions.
    private var retriesAt = UInt64(0)
    private var answers: [(inbox: any ProbeLoop.Inbox, answer: ProbeLoop.Answer)] = []

    init(loop: ProbeLoop, epoll: Int32, bell: Int32) {
        self.loop = loop
        self.epoll = epoll
        self.bell = bell
        let descriptors = Int(clinux_raise_descriptor_limit(UInt64(Self.maximumConnections + 2 * Self.reserve)))
        connectionLimit = min(max(descriptors - Self.reserve, descriptors / 2), Self.maximumConnections)
        echoes = EchoSockets()
        watch(bell, key: Self.bellKey, events: EPOLLIN.rawValue)
    }

    func run() -> Never {
        var events = [epoll_event](repeating: epoll_event(), count: 256)
        while true {
            let count = epoll_wait(epoll, &events, Int32(events.count), sleep())
            for event in events.prefix(max(0, Int(count))) { handle(event.data.u64) }
            expire()
            retry()
            startWaiting()
            deliver()
        }
    }

    /// Returns the milliseconds until the next deadline or attempt, rounded up, or -1 if there is none.
    private func sleep() -> Int32 {
        guard let time = [deadlines.min?.time, held.isEmpty ? nil : retriesAt].compactMap(\.self).min() else {
            return -1
        }
        let now = KernelClock.monotonic.nanoseconds
        return time <= now ? 0 : Int32(clamping: (time - now + 999_999) / 1_000_000)
    }

    // MARK: Out

    private func startWaiting() {
        while let submission = waiting.first, connections < connectionLimit {
            let now = KernelClock.monotonic.nanoseconds
            if let code = begin(submission, now: now) {
                // The end of another connection frees a descriptor.
                if code == EMFILE || code == ENFILE, connections > 0 { break }
                // Other questions may still succeed: ports run out for one destination at a time.
                if held.isEmpty { retriesAt = now + Self.retryPeriod }
                held.append(Held(submission: submission, since: now, code: code))
            }
            waiting.removeFirst()
        }
    }

    /// Sends held questions again. Answers the held questions whose deadline has passed.
    private func retry() {
        let now = KernelClock.monotonic.nanoseconds
        guard !held.isEmpty, retriesAt <= now else { return }
        retriesAt = now + Self.retryPeriod
        for late in held where late.deadline <= now {
            answer(late.submission, .notAsked(late.code), latency: now - late.since)
        }
        held.removeAll { $0.deadline <= now }
        let turn = held.prefix(Self.retriesAtOnce)
        held.removeFirst(turn.count)
        for var one in turn {
            if connections < connectionLimit {
                guard let code = begin(one.submission, now: now) else { continue }
                one.code = code
            }
            held.append(one)
        }
    }

    /// Starts a question. Returns nil, or the errno of a temporary shortage, in which case nothing was sent.
    private func begin(_ submission: ProbeLoop.Submission, now: UInt64) -> Int32? {
        let question = submission.question
        let slot = slots.insert(Pending(submission: submission, began: now, descriptor: -1))
        let code = begin(question, slot: slot)
        if OwnShortage.passing.contains(code) {
            _ = slots.remove(slot)
            if case .ping = question.kind, let way = question.way.socket { echoes.forget(slot, way: way) }
            return code
        }
        if code != 0 {
            finish(slot, OwnShortage.codes.contains(code) ? .notAsked(code) : .failed(code))
        } else {
            deadlines.insert(Deadline(time: now + question.timeout.nanoseconds, slot: slot))
        }
        return nil
    }

    /// Sends the packet of a question. Returns 0 or an errno.
    private func begin(_ question: ProbeLoop.Question, slot: Slot) -> Int32 {
        guard let way = question.way.socket else { return EAFNOSUPPORT }
        switch question.kind {
        case .ping:
            return echoes.send(
                from: way, slot: slot,
                watch: { self.watch($0, key: Self.echoBit | UInt64($0), events: EPOLLIN.rawValue) })
        case .tcp(let port):
            let descriptor = clinux_connect(way.source, way.destination, port, way.mark, way.device)
            guard descriptor >= 0 else { return errno }
            slots[slot]?.descriptor = descriptor
            connections += 1
            watch(descriptor, key: slot.key, events: EPOLLOUT.rawValue)
            return 0
        }
    }

    private func watch(_ descriptor: Int32, key: UInt64, events: UInt32) {
        var event = epoll_event(events: events, data: epoll_data(u64: key))
        epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event)
    }

    // MARK: In

    private func handle(_ key: UInt64) {
        if key == Self.bellKey {
            var rung: eventfd_t = 0
            eventfd_read(bell, &rung)
            receive(loop.collectMail())
        } else if key & Self.echoBit != 0 {
            for slot in echoes.receive(from: Int32(truncatingIfNeeded: key)) { finish(slot, .answered) }
        } else if let pending = slots[Slot(key: key)] {
            let code = clinux_socket_error(pending.descriptor)
            finish(Slot(key: key), code == 0 ? .answered : .failed(code))
        }
    }

    private func receive(_ mail: ProbeLoop.Mail) {
        var taken = 0
        for (after, cancellation) in mail.cancellations {
            waiting += mail.submissions[taken..<after]
            taken = after
            cancel(cancellation)
        }
        waiting += mail.submissions[taken...]
    }

    /// Cancels questions by looking at all of them. Cancellations are too rare for an index by ids.
    private func cancel(_ cancellation: ProbeLoop.Cancellation) {
        for slot in slots.all(where: { cancellation.covers($0.submission) }) { finish(slot, .cancelled) }
        let notBegun = waiting + held.map(\.submission)
        for submission in notBegun where cancellation.covers(submission) { answer(submission, .cancelled, latency: 0) }
        waiting.removeAll { cancellation.covers($0) }
        held.removeAll { cancellation.covers($0.submission) }
    }

    private func expire() {
        let now = KernelClock.monotonic.nanoseconds
        while let deadline = deadlines.min, deadline.time <= now {
            deadlines.removeMin()
            // The question may already have an answer. Its slot is then free, or has another tenant.
            finish(deadline.slot, .timedOut)
        }
    }

    private func finish(_ slot: Slot, _ outcome: ProbeLoop.Answer.Outcome) {
        guard let pending = slots.remove(slot) else { return }
        let question = pending.submission.question
        if pending.descriptor >= 0 {
            close(pending.descriptor)
            connections -= 1
        } else if case .ping = question.kind, let way = question.way.socket {
            echoes.forget(slot, way: way)
        }
        answer(pending.submission, outcome, latency: KernelClock.monotonic.nanoseconds - pending.began)
    }

    /// Queues an answer. `latency` is in nanoseconds.
    private func answer(_ submission: ProbeLoop.Submission, _ outcome: ProbeLoop.Answer.Outcome, latency: UInt64) {
        let answer = ProbeLoop.Answer(
            question: submission.question, outcome: outcome, latency: .nanoseconds(Int64(latency)))
        answers.append((submission.inbox, answer))
    }

    /// Delivers all answers. Consecutive answers to the same inbox go together.
    private func deliver() {
        var start = 0
        while start < answers.count {
            let inbox = answers[start].inbox
            let end = answers[start...].firstIndex { $0.inbox !== inbox } ?? answers.count
            inbox.deliver(answers[start..<end].map(\.answer))
            start = end
        }
        answers.removeAll(keepingCapacity: answers.capacity <= 4096)
    }
}
