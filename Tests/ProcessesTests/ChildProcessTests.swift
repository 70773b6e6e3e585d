import Glibc
import Processes
import Synchronization
import SystemCalls
import Testing

struct ChildProcessTests {
    /// The deadline of programs that end by themselves.
    private static let limit = Duration.seconds(60)

    private func run(
        _ script: String, limit: Int = 4096, deadline: Duration = Self.limit
    ) throws -> ChildProcess.Outcome {
        try ChildProcess(["/bin/sh", "-c", script], streams: .kept(limit: limit)).run(deadline: deadline)
    }

    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    @Test("a program leaves its status and its output")
    func aProgramLeavesItsStatusAndItsOutput() throws {
        let outcome = try run("echo well; echo ill >&2; exit 3")
        #expect(outcome == .init(ending: .exited(3), output: Array("well\n".utf8), errors: Array("ill\n".utf8)))
        #expect(try run("kill -SEGV $$").ending == .signalled(SIGSEGV))
    }

    @Test("a program is killed at its deadline")
    func aProgramIsKilledAtItsDeadline() throws {
        let start = ContinuousClock.now
        let outcome = try run("trap '' TERM HUP INT; echo begun; sleep 1000", deadline: .milliseconds(300))
        #expect(outcome.isLate)
        #expect(outcome.ending == .signalled(SIGKILL))
        #expect(text(outcome.output) == "begun\n")
        #expect(ContinuousClock.now - start < Self.limit)
    }

    /// No call of poll(2) reaches its time-out, as there is always output.
    @Test("a program with constant output is killed at its deadline")
    func aTalkativeProgramIsKilledAtItsDeadline() throws {
        let outcome = try run("yes", deadline: .milliseconds(300))
        #expect(outcome.isLate)
        #expect(outcome.ending == .signalled(SIGKILL))
        #expect(outcome.output.count == 4096)
    }

    /// The background process keeps both streams open.
    @Test(
        "processes that a program leaves running are killed",
        arguments: [("exit 0", Duration.seconds(60)), ("sleep 1000", .milliseconds(300))])
    func whatAProgramLeavesRunningIsKilled(end: String, deadline: Duration) throws {
        let outcome = try run("trap '' TERM HUP; sleep 1000 & echo $!; \(end)", deadline: deadline)
        #expect(outcome.isLate == (end != "exit 0"), "\(outcome)")
        let process = try #require(pid_t(text(outcome.output).dropLast()))
        #expect(eventually { isGone(process) })
    }

    @Test("output beyond the limit of a stream is dropped")
    func whatIsMoreThanTheLimitOfAStreamIsDropped() throws {
        // The output exceeds the size of a pipe.
        let outcome = try run("head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; exit 7", limit: 5000)
        #expect(outcome.ending == .exited(7))
        #expect(outcome.isCut)
        #expect(outcome.output.count == 5000)
        #expect(outcome.errors.count == 5000)
        let whole = try run("head -c 5000 /dev/zero; echo >&2", limit: 5000)
        #expect(whole.output.count == 5000)
        #expect(whole.errors.count == 1)
        #expect(!whole.isCut)
    }

    @Test("both streams can go to one receiver")
    func bothStreamsAreHandedOnTogether() throws {
        let seen = Mutex<[UInt8]>([])
        let script = "echo one; echo two >&2; head -c 200000 /dev/zero; echo; echo three"
        let outcome = try ChildProcess(
            ["/bin/sh", "-c", script], streams: .handed { bytes in seen.withLock { $0 += bytes } }
        ).run(deadline: Self.limit)
        #expect(outcome.ending == .exited(0))
        #expect(outcome.output.isEmpty)
        #expect(outcome.errors.isEmpty)
        let zeros = [UInt8](repeating: 0, count: 200_000)
        #expect(seen.withLock { $0 == Array("one\ntwo\n".utf8) + zeros + Array("\nthree\n".utf8) })
    }

    @Test("output can be discarded")
    func outputMayGoNowhere() throws {
        let script = "head -c 300000 /dev/zero; for i in 1 2; do test /proc/self/fd/$i -ef /dev/null || exit 1; done"
        let outcome = try ChildProcess(["/bin/sh", "-c", script], streams: .discarded).run(deadline: Self.limit)
        #expect(outcome == .init(ending: .exited(0)))
    }

    @Test("a program that cannot be started has an error with its reason")
    func aProgramThatCannotBeStartedSaysWhy() throws {
        for (path, code, reason) in [
            ("/nonexistent", ENOENT, "No such file or directory"), ("/etc/passwd", EACCES, "Permission denied"),
        ] {
            let failure = #expect(throws: SystemError.self) {
                try ChildProcess([path], streams: .discarded).run(deadline: Self.limit)
            }
            #expect(failure?.code == code)
            #expect(failure?.description == "start \(path): \(reason)")
        }
    }

    @Test("a program that was ended before its start does not start")
    func aProgramThatWasToldToEndBeforeIsNotStarted() throws {
        for end in [{ $0.kill() }, { $0.terminate() }] as [(ChildProcess) -> Void] {
            let process = ChildProcess(["/bin/sleep", "1000"], streams: .discarded)
            end(process)
            let failure = #expect(throws: SystemError.self) { try process.run(deadline: Self.limit) }
            #expect(failure?.code == ECANCELED)
            #expect(process.identifier == nil)
        }
    }

    @Test("a program runs once")
    func aProgramRunsOnce() throws {
        let process = ChildProcess(["/bin/true"], streams: .discarded)
        #expect(try process.run(deadline: Self.limit).ending == .exited(0))
        #expect(throws: SystemError.self) { try process.run(deadline: Self.limit) }
        // Another process may have its ID by now.
        process.kill()
        #expect(process.identifier == nil)
    }

    @Test(
        "a running program can be killed or terminated",
        arguments: [(true, ChildProcess.Ending.signalled(SIGKILL)), (false, .exited(4))])
    func aRunningProgramEndsWhenItIsTold(isKilled: Bool, ending: ChildProcess.Ending) throws {
        let signaller = Signaller()
        // The program prints a line once it has set its trap, and gets the signal then.
        let process = ChildProcess(
            ["/bin/sh", "-c", "trap 'kill $!; exit 4' TERM; sleep 1000 & echo; wait"],
            streams: .handed { _ in signaller.signal(isKilled: isKilled) })
        signaller.process.withLock { $0 = process }
        let outcome = try process.run(deadline: Self.limit)
        #expect(outcome.ending == ending)
        #expect(!outcome.isLate)
    }

    private final class Signaller: Sendable {
        let process = Mutex<ChildProcess?>(nil)

        func signal(isKilled: Bool) {
            let process = process.withLock { $0 }
            if isKilled { process?.kill() } else { process?.terminate() }
        }
    }

    /// The program has three standard descriptors, and ls opens one.
    @Test("a program inherits no descriptor and no input")
    func aProgramHasNothingOfThisProcess() throws {
        let own = open("/etc/passwd", O_RDONLY)
        defer { close(own) }
        #expect(text(try run("ls /proc/self/fd | wc -l; pwd; cat | wc -c").output) == "4\n/\n0\n")
        let process = ChildProcess(["/usr/bin/env"], environment: ["A": "b c"], streams: .kept(limit: 4096))
        #expect(text(try process.run(deadline: Self.limit).output) == "A=b c\n")
        let path = String(cString: try #require(getenv("PATH")))
        #expect(text(try run("echo $PATH").output) == "\(path)\n")
    }

    @Test("a program starts with default signal handling")
    func signalsOfAProgramAreAsAtFirst() async {
        await #expect(processExitsWith: .success) {
            signal(SIGPIPE, SIG_IGN)
            var all = sigset_t()
            sigfillset(&all)
            pthread_sigmask(SIG_BLOCK, &all, nil)
            for number in [SIGPIPE, SIGTERM, SIGUSR1] {
                let outcome = try ChildProcess(
                    ["/bin/sh", "-c", "kill -\(number) $$; sleep 1000"], streams: .discarded
                ).run(deadline: .seconds(60))
                #expect(outcome.ending == .signalled(number))
            }
        }
    }

    /// The test runs in a process of its own, whose descriptors and children are counted.
    @Test("hundreds of killed programs leave nothing behind")
    func hundredsThatHangLeaveNothingBehind() async {
        await #expect(processExitsWith: .success) {
            func hang() async -> [ChildProcess.Outcome?] {
                await withTaskGroup(of: ChildProcess.Outcome?.self) { tasks in
                    for _ in 0..<200 {
                        tasks.addTask {
                            await withCheckedContinuation { continuation in
                                detach {
                                    let process = ChildProcess(
                                        ["/bin/sh", "-c", "trap '' TERM; sleep 1000 & sleep 1000"],
                                        streams: .kept(limit: 4096))
                                    continuation.resume(returning: try? process.run(deadline: .seconds(1)))
                                }
                            }
                        }
                    }
                    var outcomes: [ChildProcess.Outcome?] = []
                    for await outcome in tasks { outcomes.append(outcome) }
                    return outcomes
                }
            }
            // The first run creates what stays open, such as the descriptors of the thread pool.
            _ = await hang()
            let before = Inventory()
            let outcomes = await hang()
            #expect(outcomes.count == 200)
            #expect(outcomes.allSatisfy { $0?.isLate == true && $0?.ending == .signalled(SIGKILL) })
            #expect(eventually { Inventory() == before }, "\(Inventory()), before \(before)")
        }
    }
}

private struct Inventory: Equatable {
    var descriptors = File.list("/proc/self/fd")?.count
    /// Whether there is no child process, ended or not.
    var isChildless = waitid(P_ALL, 0, nil, WEXITED | WNOHANG | WNOWAIT) < 0
}

private func detach(_ body: @escaping @Sendable () -> Void) {
    final class Work {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    let code = pthread_create(
        &thread, nil,
        { argument in
            if let argument { Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body() }
            return nil
        }, Unmanaged.passRetained(Work(body)).toOpaque())
    precondition(code == 0, "start a thread: \(String(cString: strerror(code)))")
    pthread_detach(thread)
}

/// Waits for a condition, for at most 20 s.
private func eventually(_ condition: () -> Bool) -> Bool {
    for _ in 0..<2000 {
        if condition() { return true }
        usleep(10_000)
    }
    return condition()
}

/// Returns whether the process is gone, or a zombie that its new parent has not reaped yet.
private func isGone(_ process: pid_t) -> Bool {
    guard kill(process, 0) == 0 else { return errno == ESRCH }
    guard let status = try? File.read("/proc/\(process)/stat") else { return true }
    return String(decoding: status, as: UTF8.self).contains(") Z")
}
