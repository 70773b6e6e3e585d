import Addresses
import CLinux
import Glibc
import LoadBalancing
import NIOPosix
import Synchronization
import Testing

@testable import HealthChecks

/// Many questions at once in `ProbeLoop`.
struct ProbeLoopTests {
    typealias Question = ProbeLoop.Question

    /// Returns all answers, in the order of arrival.
    static func ask(_ questions: [Question]) async -> [ProbeLoop.Answer] {
        let (stream, continuation) = AsyncStream.makeStream(of: [ProbeLoop.Answer].self)
        ProbeLoop.shared.ask(questions, answersTo: Collector(continuation: continuation))
        return await collect(questions.count, from: stream)
    }

    static func collect(
        _ count: Int, from stream: AsyncStream<[ProbeLoop.Answer]>
    ) async -> [ProbeLoop.Answer] {
        var answers: [ProbeLoop.Answer] = []
        for await some in stream {
            answers += some
            if answers.count >= count { break }
        }
        return answers
    }

    final class Collector: ProbeLoop.Inbox {
        private let continuation: AsyncStream<[ProbeLoop.Answer]>.Continuation

        init(continuation: AsyncStream<[ProbeLoop.Answer]>.Continuation) { self.continuation = continuation }

        func deliver(_ answers: [ProbeLoop.Answer]) { continuation.yield(answers) }
    }

    static func question(
        _ id: UInt64, _ kind: Question.Kind, _ way: Check.Way = .direct(Loopback.address),
        timeout: Duration = .seconds(30)
    ) -> Question {
        Question(id: id, kind: kind, way: way, timeout: timeout)
    }

    @Test("each kind of answer arrives, in the order of the time-outs")
    func eachKindOfAnswerIsTold() async throws {
        try await LoopbackServer.stream(Part()) { port in
            let answers = await Self.ask([
                Self.question(1, .tcp(port: port)),
                Self.question(2, .tcp(port: port), .direct(Loopback.closed)),
                Self.question(3, .tcp(port: 9), Loopback.blackhole, timeout: .milliseconds(100)),
                Self.question(4, .ping),
                Self.question(5, .ping, Loopback.blackhole, timeout: .milliseconds(200)),
                Self.question(6, .ping, Loopback.way(to: Loopback.address, mark: 7)),
                Self.question(7, .tcp(port: 9), Loopback.noDevice),
                Self.question(9, .ping, Loopback.noDevice),
                Self.question(8, .tcp(port: 9), Loopback.blackhole, timeout: .zero),
            ])
            let outcomes = Dictionary(answers.map { ($0.question.id, $0.outcome) }, uniquingKeysWith: { one, _ in one })
            #expect(answers.count == 9)
            #expect(
                outcomes == [
                    1: .answered, 2: .failed(ECONNREFUSED), 3: .timedOut, 4: .answered, 5: .timedOut, 6: .answered,
                    7: .notAsked(ENODEV), 8: .timedOut, 9: .notAsked(ENODEV),
                ])
            // Earlier time-outs come first, independent of the order of the questions.
            let silent = answers.filter { $0.outcome == .timedOut }
            #expect(silent.map(\.question.id) == [8, 3, 5])
            #expect(silent.allSatisfy { $0.latency >= $0.question.timeout })
        }
    }

    @Test("a failure has its stage and its reason")
    func verdictsSayWhatAnOperatorNeeds() async throws {
        let answers = await Self.ask([
            Self.question(0, .tcp(port: 9), Loopback.blackhole, timeout: .milliseconds(50)),
            Self.question(1, .tcp(port: 9), .direct(Loopback.closed)),
            Self.question(2, .ping, Loopback.blackhole, timeout: .milliseconds(50)),
        ]).sorted { $0.question.id < $1.question.id }
        #expect(
            answers.map(\.verdict) == [
                .failed(.init(stage: .connect, reason: "connect: timed out after 0.05 s")),
                .failed(.init(stage: .connect, reason: "connect: Connection refused", hostAnswered: true)),
                .failed(.init(stage: .answer, reason: "answer: timed out after 0.05 s")),
            ])
    }

    /// Questions of another inbox remain, and so do later questions with the same id.
    @Test("only earlier questions of the same inbox are cancelled")
    func cancelledQuestionsEnd() async {
        let (stream, continuation) = AsyncStream.makeStream(of: [ProbeLoop.Answer].self)
        let (others, otherContinuation) = AsyncStream.makeStream(of: [ProbeLoop.Answer].self)
        let (inbox, other) = (
            Collector(continuation: continuation), Collector(continuation: otherContinuation)
        )
        let silent = (1...3).map {
            Self.question($0, $0 == 3 ? .ping : .tcp(port: 9), Loopback.blackhole, timeout: .seconds(600))
        }
        ProbeLoop.shared.ask(silent, answersTo: inbox)
        ProbeLoop.shared.ask(silent, answersTo: other)
        ProbeLoop.shared.cancel([1, 3, 99], answersTo: inbox)
        ProbeLoop.shared.ask([Self.question(3, .ping), Self.question(1, .ping)], answersTo: inbox)
        var answers = await Self.collect(4, from: stream)
        #expect(Set(answers.prefix(2).map(\.question.id)) == [1, 3])
        #expect(answers.prefix(2).allSatisfy { $0.outcome == .cancelled })
        #expect(Set(answers.suffix(2).map(\.question.id)) == [1, 3])
        #expect(answers.suffix(2).allSatisfy { $0.outcome == .answered })
        ProbeLoop.shared.cancel([1, 2, 3], answersTo: inbox)
        answers = await Self.collect(1, from: stream)
        #expect(answers.map(\.question.id) == [2])
        #expect(answers.map(\.outcome) == [.cancelled])
        ProbeLoop.shared.cancel([1, 2, 3], answersTo: other)
        answers = await Self.collect(3, from: others)
        #expect(Set(answers.map(\.question.id)) == [1, 2, 3])
        #expect(answers.allSatisfy { $0.outcome == .cancelled })
    }

    @Test("questions that wait for a descriptor or a port are cancelled, too")
    func cancelledQuestionsNeedNotGoOut() async {
        await #expect(processExitsWith: .success) {
            var limit = rlimit(rlim_cur: 400, rlim_max: 400)
            guard clinux_unshare_network() == 0,
                system("ip link set lo up && echo 40000 40003 >/proc/sys/net/ipv4/ip_local_port_range") == 0,
                setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0
            else {
                Issue.record("no namespace")
                return
            }
            _ = await ProbeLoopTests.ask([ProbeLoopTests.question(0, .ping)])
            // The first sleep opens descriptors that stay.
            var last: Int?
            #expect(
                await eventually {
                    let now = LeakTests.Inventory().descriptors
                    defer { last = now }
                    return last == now
                })
            let before = try #require(last)
            let (stream, continuation) = AsyncStream.makeStream(of: [ProbeLoop.Answer].self)
            let inbox = ProbeLoopTests.Collector(continuation: continuation)
            // Four of the first hundred questions, which are to one address, have a port, and the others wait for one.
            // Of the other 900, 196 have a descriptor.
            let silent = (0..<1000).map { id in
                let way = Loopback.way(to: IPAddress(0xC000_0201 + UInt32(id < 100 ? 0 : id)), mark: 1)
                return ProbeLoopTests.question(UInt64(id), .tcp(port: 9), way, timeout: .seconds(600))
            }
            ProbeLoop.shared.ask(silent, answersTo: inbox)
            #expect(await eventually { LeakTests.Inventory().descriptors == before + 200 })
            ProbeLoop.shared.cancel(Set((0..<1000).map(UInt64.init)), answersTo: inbox)
            let answers = await ProbeLoopTests.collect(1000, from: stream)
            #expect(answers.allSatisfy { $0.outcome == .cancelled })
            #expect(Set(answers.map(\.question.id)).count == 1000)
            #expect(LeakTests.Inventory().descriptors == before)
        }
    }

    /// The questions outnumber the descriptors.
    @Test("questions wait for descriptors, and leave none open")
    func questionsWaitForDescriptors() async {
        await #expect(processExitsWith: .success) {
            var limit = rlimit(rlim_cur: 400, rlim_max: 400)
            #expect(setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
            let silent = (0..<1000).map {
                ProbeLoopTests.question($0, .tcp(port: 9), Loopback.blackhole, timeout: .milliseconds(20))
            }
            _ = await ProbeLoopTests.ask(Array(silent.prefix(1)))
            let before = LeakTests.Inventory()
            let answers = await ProbeLoopTests.ask(silent)
            #expect(answers.count == 1000)
            #expect(answers.allSatisfy { $0.outcome == .timedOut })
            #expect(Set(answers.map(\.question.id)).count == 1000)
            let pings = await ProbeLoopTests.ask((0..<1000).map { ProbeLoopTests.question($0, .ping) })
            #expect(pings.count == 1000)
            #expect(pings.allSatisfy { $0.outcome == .answered })
            #expect(LeakTests.Inventory().description == before.description)
        }
    }

    /// Each destination has four local ports. A waiting question goes out once a port is free, or ends without a
    /// verdict on the peer.
    @Test("questions wait for ports, and are not held against the peer")
    func questionsWaitForPorts() async {
        await #expect(processExitsWith: .success) {
            guard clinux_unshare_network() == 0,
                system("ip link set lo up && echo 40000 40003 >/proc/sys/net/ipv4/ip_local_port_range") == 0
            else {
                Issue.record("no namespace")
                return
            }
            let timeouts: [Duration] =
                Array(repeating: .seconds(1), count: 4) + Array(repeating: .milliseconds(200), count: 6)
                + Array(repeating: .seconds(3), count: 2)
            let questions = timeouts.enumerated().map {
                ProbeLoopTests.question(UInt64($0.offset), .tcp(port: 9), Loopback.blackhole, timeout: $0.element)
            }
            let other = ProbeLoopTests.question(12, .tcp(port: 1), Loopback.way(to: Loopback.closed, mark: 1))
            let answers = await ProbeLoopTests.ask(questions + [other])
            #expect(answers.count == 13)
            // The other destination has ports of its own.
            #expect(answers.first?.question.id == 12)
            #expect(answers.first?.outcome == .failed(ECONNREFUSED))
            for answer in answers.dropFirst() {
                let isShort = answer.question.timeout == .milliseconds(200)
                #expect(answer.outcome == (isShort ? .notAsked(EADDRNOTAVAIL) : .timedOut))
                #expect(answer.latency >= answer.question.timeout)
                guard case .failed(let failure) = answer.verdict else {
                    Issue.record("\(answer)")
                    continue
                }
                #expect(failure.isOwn == isShort)
                if isShort { #expect(failure.reason.hasSuffix("Cannot assign requested address")) }
            }
        }
    }

    /// Pings share a socket, so the end of one frees no descriptor.
    @Test("a ping without a descriptor is sent once there is one")
    func aPingWaitsForADescriptorOfItsOwn() async {
        await #expect(processExitsWith: .success) {
            _ = await ProbeLoopTests.ask([ProbeLoopTests.question(0, .ping)])
            var limit = rlimit(rlim_cur: 3, rlim_max: 4096)
            #expect(setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
            let answers = await ProbeLoopTests.ask([ProbeLoopTests.question(1, .ping, timeout: .milliseconds(100))])
            #expect(answers.map(\.outcome) == [.notAsked(EMFILE)])
            async let waiting = ProbeLoopTests.ask([ProbeLoopTests.question(2, .ping)])
            limit.rlim_cur = 4096
            #expect(setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
            #expect(await waiting.map(\.outcome) == [.answered])
        }
    }

    /// A firewall rule in a network namespace drops packets with one of two marks.
    @Test("connects and echoes carry the mark")
    func packetsAreMarked() async {
        await #expect(processExitsWith: .success) {
            guard clinux_unshare_network() == 0,
                system(
                    """
                    ip link set lo up && nft 'add table ip t; add chain ip t o { type filter hook output priority 0; };
                    add rule ip t o meta mark 7 drop'
                    """) == 0
            else {
                Issue.record("no namespace")
                return
            }
            for kind in [Question.Kind.ping, .tcp(port: 1)] {
                let answers = await ProbeLoopTests.ask(
                    [UInt32(7), 8].map { mark in
                        ProbeLoopTests.question(
                            UInt64(mark), kind, Loopback.way(to: Loopback.address, mark: mark),
                            timeout: mark == 7 ? .milliseconds(200) : .seconds(30))
                    })
                let dropped = answers.first { $0.question.id == 7 }
                let passed = answers.first { $0.question.id == 8 }
                if case .ping = kind {
                    // The sender gets EPERM from netfilter.
                    #expect(dropped?.outcome == .failed(EPERM))
                    #expect(passed?.outcome == .answered)
                } else {
                    #expect(dropped?.outcome == .timedOut)
                    #expect(passed?.outcome == .failed(ECONNREFUSED))
                }
            }
        }
    }

    @Test("a slot finds its own value only")
    func aSlotNamesOneTenantOnly() {
        var slots = Slots<String>()
        let first = slots.insert("first")
        #expect(slots.remove(first) == "first")
        let second = slots.insert("second")
        #expect(slots[first] == nil)
        #expect(slots.remove(first) == nil)
        #expect(slots[Slot(key: second.key)] == "second")
        slots[second] = "changed"
        #expect(slots.remove(second) == "changed")
    }
}
