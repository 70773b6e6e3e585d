internal import CLinux
internal import Glibc
internal import Synchronization
package import SystemCalls

/// A single run of another program. It runs in "/", in a process group of its own and in the network namespace of the
/// calling thread. It gets standard input from /dev/null, no descriptor of this process, and no blocked or ignored
/// signal. When the program has ended, the rest of its group is killed.
package final class ChildProcess: Sendable {
    /// The destinations of standard output and standard error.
    package enum Streams: Sendable {
        /// Both go to /dev/null.
        case discarded
        /// The first `limit` bytes of each are kept. The rest is read and dropped.
        case kept(limit: Int)
        /// Both go into one pipe, whose bytes are passed on as they come, on the thread that calls `run`.
        case handed(to: @Sendable (ArraySlice<UInt8>) -> Void)
    }

    package enum Ending: Hashable, Sendable {
        case exited(Int32)
        /// The program was ended by the signal of this number.
        case signalled(Int32)
    }

    /// The result of a run.
    package struct Outcome: Hashable, Sendable {
        package var ending: Ending
        /// The bytes of standard output that were kept.
        package var output: [UInt8]
        /// The bytes of standard error that were kept.
        package var errors: [UInt8]
        /// Whether standard output had more bytes than were kept.
        package var isCut: Bool
        /// Whether the program was killed at its deadline.
        package var isLate: Bool

        package init(
            ending: Ending, output: [UInt8] = [], errors: [UInt8] = [], isCut: Bool = false, isLate: Bool = false
        ) {
            self.ending = ending
            self.output = output
            self.errors = errors
            self.isCut = isCut
            self.isLate = isLate
        }
    }

    private enum State {
        case ready
        case running(pid_t)
        case over
    }

    private let arguments: [String]
    private let environment: [String: String]?
    private let streams: Streams
    private let state = Mutex(State.ready)

    /// Creates a run. `arguments` begin with the program's path. Without an environment, the program inherits the one
    /// of this process.
    package init(_ arguments: [String], environment: [String: String]? = nil, streams: Streams) {
        self.arguments = arguments
        self.environment = environment
        self.streams = streams
    }

    /// The process ID while the program runs, or nil.
    package var identifier: Int32? {
        state.withLock { if case .running(let process) = $0 { process } else { nil } }
    }

    /// Sends SIGTERM to the program itself. A program that has not been started never starts.
    package func terminate() { signal { Glibc.kill($0, SIGTERM) } }

    /// Kills the program and its group. A program that has not been started never starts.
    package func kill() { signal { Glibc.kill(-$0, SIGKILL) } }

    private func signal(_ send: (pid_t) -> Int32) {
        state.withLock { state in
            switch state {
            case .ready: state = .over
            // The IDs of the process and its group are not reused before the process is reaped.
            case .running(let process): _ = send(process)
            case .over: break
            }
        }
    }

    /// Starts the program, and blocks until it has ended and is reaped. The program is killed when `deadline` has
    /// passed since the call. A process that the program leaves behind with open output does not prolong the wait.
    /// Throws if the program cannot be started or watched. The error is ECANCELED if `terminate` or `kill` was called
    /// before the start.
    package func run(deadline: Duration? = nil) throws(SystemError) -> Outcome {
        let pipes = try OutputPipe.make(streams)
        let end = deadline.map(ContinuousClock.now.advanced(by:))
        let process = try start(pipes)
        for pipe in pipes { pipe.closeWrite() }
        let descriptor = clinux_process_descriptor(process)
        guard descriptor >= 0 else {
            let failure = SystemError("watch \(arguments[0])")
            kill()
            _ = try reap(process)
            throw failure
        }
        let isLate = collect(descriptor, pipes, until: end)
        close(descriptor)
        let ending = try reap(process)
        // One call reads everything that a full pipe can hold.
        for pipe in pipes { _ = pipe.drain() }
        return Outcome(
            ending: ending, output: pipes[0].bytes, errors: pipes[pipes.count - 1].bytes, isCut: pipes[0].isCut,
            isLate: isLate)
    }

    private func start(_ pipes: [OutputPipe]) throws(SystemError) -> pid_t {
        var argv = arguments.map { strdup($0) } + [nil]
        var envp = (environment ?? [:]).map { strdup("\($0)=\($1)") } + [nil]
        defer { for text in argv + envp { free(text) } }
        let (output, errors) = (pipes[0].write, pipes[pipes.count - 1].write)
        return try state.withLock { state throws(SystemError) in
            guard case .ready = state else { throw SystemError("start \(arguments[0])", code: ECANCELED) }
            var process: pid_t = 0
            let code =
                environment == nil
                ? clinux_spawn(&argv, environ, output, errors, &process)
                : clinux_spawn(&argv, &envp, output, errors, &process)
            state = code == 0 ? .running(process) : .over
            if code != 0 { throw SystemError("start \(arguments[0])", code: code) }
            return process
        }
    }

    /// Reads the pipes until the process has ended. Kills the process at its deadline, and returns whether this was
    /// needed. `process` is the descriptor from pidfd_open(2).
    private func collect(_ process: Int32, _ pipes: [OutputPipe], until end: ContinuousClock.Instant?) -> Bool {
        var watched = ([process] + pipes.map(\.read)).map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        var isLate = false
        while watched[0].revents == 0 {
            let count = poll(&watched, nfds_t(watched.count), isLate ? -1 : Self.milliseconds(until: end))
            if count < 0 {
                if errno == EINTR { continue }
                break
            }
            if let end, !isLate, watched[0].revents == 0, ContinuousClock.now >= end {
                isLate = true
                kill()
            }
            for (index, pipe) in pipes.enumerated() where watched[index + 1].revents != 0 {
                if !pipe.drain() { watched[index + 1].fd = -1 }
            }
        }
        return isLate
    }

    /// Returns the time-out for poll(2) in milliseconds, or -1 without a deadline.
    private static func milliseconds(until end: ContinuousClock.Instant?) -> Int32 {
        guard let end else { return -1 }
        return Int32(max(0, min(ContinuousClock.now.duration(to: end) / .milliseconds(1), 1e9)).rounded(.up))
    }

    /// Kills the rest of the program's group, and reaps the program.
    private func reap(_ process: pid_t) throws(SystemError) -> Ending {
        try state.withLock { state throws(SystemError) in
            _ = Glibc.kill(-process, SIGKILL)
            state = .over
            var status: Int32 = 0
            while waitpid(process, &status, 0) < 0 {
                guard errno == EINTR else { throw SystemError("wait for \(arguments[0])") }
            }
            let signal = status & 0x7F
            return signal == 0 ? .exited(status >> 8 & 0xFF) : .signalled(signal)
        }
    }
}
