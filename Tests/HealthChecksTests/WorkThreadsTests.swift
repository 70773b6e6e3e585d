import Addresses
import Glibc
import LoadBalancing
import NIOPosix
import Synchronization
import Testing

@testable import HealthChecks

/// Threads for work that may block.
struct WorkThreadsTests {
    /// A gate that blocks work until it opens.
    private final class Gate: Sendable {
        private let isOpen = Atomic(false)

        func open() { isOpen.store(true, ordering: .relaxed) }

        func wait() {
            for _ in 0..<60_000 where !isOpen.load(ordering: .relaxed) { usleep(1000) }
        }
    }

    @Test("work of one key runs one piece at a time")
    func aKeyHasOneThreadAtATime() async {
        let threads = WorkThreads<String>(limit: 8)
        let now = Atomic(0)
        let most = Atomic(0)
        let done = Atomic(0)
        for _ in 0..<50 {
            _ = threads.run("one") {
                most.max(now.add(1, ordering: .relaxed).newValue, ordering: .relaxed)
                usleep(100)
                now.subtract(1, ordering: .relaxed)
                done.add(1, ordering: .relaxed)
            }
        }
        #expect(await eventually { done.load(ordering: .relaxed) == 50 })
        #expect(most.load(ordering: .relaxed) == 1)
    }

    @Test("a stalled key blocks one thread only")
    func aStalledKeyKeepsOneThread() async {
        let threads = WorkThreads<String>(limit: 2)
        let gate = Gate()
        defer { gate.open() }
        let stalled = (0..<20).map { _ in threads.run("stalled") { gate.wait() } }
        #expect(await eventually { stalled[0].hasBegun })
        let done = Atomic(0)
        for key in 0..<20 { _ = threads.run("\(key)") { done.add(1, ordering: .relaxed) } }
        #expect(await eventually { done.load(ordering: .relaxed) == 20 })
        #expect(stalled.filter(\.hasBegun).count == 1)
    }

    @Test("keys take turns")
    func keysTakeTurns() async {
        let threads = WorkThreads<String>(limit: 1)
        let gate = Gate()
        let order = Mutex<[String]>([])
        let first = threads.run("busy") { gate.wait() }
        #expect(await eventually { first.hasBegun })
        for _ in 0..<5 { _ = threads.run("busy") { order.withLock { $0.append("busy") } } }
        for _ in 0..<2 { _ = threads.run("other") { order.withLock { $0.append("other") } } }
        gate.open()
        #expect(await eventually { order.withLock { $0.count } == 7 })
        #expect(order.withLock { $0.prefix(4) } == ["other", "busy", "other", "busy"])
    }

    @Test("withdrawn work does not run")
    func whatIsTakenBackIsNotDone() async {
        let threads = WorkThreads<String>(limit: 1)
        let gate = Gate()
        let done = Atomic(0)
        let first = threads.run("busy") { gate.wait() }
        #expect(await eventually { first.hasBegun })
        let tickets = ["busy", "busy", "other"].map { threads.run($0) { done.add(1, ordering: .relaxed) } }
        threads.withdraw(tickets[0])
        threads.withdraw(tickets[2])
        threads.withdraw(tickets[2])
        threads.withdraw(first)
        gate.open()
        #expect(await eventually { tickets[1].hasBegun })
        let last = threads.run("other") { done.add(10, ordering: .relaxed) }
        #expect(await eventually { last.hasBegun && done.load(ordering: .relaxed) == 11 })
        #expect(!tickets[0].hasBegun)
        #expect(!tickets[2].hasBegun)
    }

    /// The costly searches outnumber the threads.
    @Test("costly searches of one service do not delay other checks")
    func costlySearchesStopNobodyElse() async throws {
        let checker = Checker(group: MultiThreadedEventLoopGroup.singleton)
        let text = String(repeating: "a", count: 40) + "!"
        let part = Part.replies("HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\n\(text)")
        let costly = try Pattern("^(\\w+\\s?)*$")
        let service = ServiceAddress(vip: Loopback.address, port: 80, transport: .tcp)
        func ask(_ check: Check, of service: ServiceAddress?, within timeout: Duration) async -> CheckVerdict {
            await checker.ask(
                .init(id: 0, check: check, way: .direct(Loopback.address), timeout: timeout, service: service)
            ).verdict
        }
        try await LoopbackServer.stream(part) { port in
            let verdicts = await withTaskGroup(of: CheckVerdict.self) { group in
                for _ in 0..<40 {
                    group.addTask {
                        await ask(
                            .http(HTTPCheck(port: port, body: [.matches(costly)])), of: service,
                            within: .milliseconds(700))
                    }
                }
                for _ in 0..<5 {
                    // The long time-out allows for a loaded machine.
                    let light = Check.http(HTTPCheck(port: port, body: [.matches(try! Pattern("!$"))]))
                    #expect(await ask(light, of: nil, within: .seconds(30)).isPassed)
                    let file = try! FileCheck(path: "/proc/sys/kernel/pid_max")
                    guard case .failed(let failure) = await ask(.file(file), of: nil, within: .seconds(30)) else {
                        continue
                    }
                    #expect(failure.reason.contains("no weight"), "\(failure)")
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            for case .failed(let failure) in verdicts {
                let isExpected =
                    failure.reason.contains("the search for /\(costly)/ takes too much time or memory")
                    || failure.isOwn && failure.reason.contains("no thread searched the body in time")
                    // A loaded machine may get the response too late. A search must never be the real server's failure.
                    || failure.stage != .bodyMatch && failure.reason.contains("timed out")
                #expect(isExpected, "\(failure)")
            }
            #expect(verdicts.allSatisfy { !$0.isPassed })
            #expect(verdicts.count == 40)
        }
    }
}
