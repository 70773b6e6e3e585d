internal import CLinux
internal import Glibc
internal import Synchronization
package import SystemCalls

/// Another program, run once: in "/", in a process group of its own and in the network namespace of the thread that runs it,
/// with standard input from /dev/null, no descriptor of this process, and no signal blocked or ignored. When the program has
/// ended, what is left of its group is killed.
package final class ChildProcess: Sendable {
    /// Where standard output and standard error go.
    package enum Streams: Sendable {
        /// To /dev/null.
        case discarded
        /// Of each the first `limit` bytes are kept. The rest is read and dropped.
        case kept(limit: Int)
        /// Both into one pipe, whose bytes are handed on as they come, by the thread that runs the program.
        case handed(to: @Sendable (ArraySlice<UInt8>) -> Void)
    }

    package enum Ending: Hashable, Sendable {
        case exited(Int32)
        /// By a signal of that number.
        case signalled(Int32)
    }

    /// What a program left behind.
    package struct Outcome: Hashable, Sendable {
        package var ending: Ending
        /// Of standard output, as much as was kept.
        package var output: [UInt8]
        /// Of standard error, as much as was kept.
        package var errors: [UInt8]
        /// More came on standard output than was kept.
        package var isCut: Bool
        /// The program was killed at its deadline.
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

    /// `arguments` begin with the program's path. Where no environment is given, the program has this process's.
    package init(_ arguments: [String], environment: [String: String]? = nil, streams: Streams) {
        self.arguments = arguments
        self.environment = environment
        self.streams = streams
    }

    /// The process's number; nil unless it runs.
    package var identifier: Int32? {
        state.withLock { if case .running(let process) = $0 { process } else { nil } }
    }

    /// Asks the program itself to end. One that has not been started will not be.
    package func terminate() { signal { Glibc.kill($0, SIGTERM) } }

    /// Kills the program and its group. One that has not been started will not be.
    package func kill() { signal { Glibc.kill(-$0, SIGKILL) } }

    private func signal(_ send: (pid_t) -> Int32) {
        state.withLock { state in
            switch state {
            case .ready: state = .over
            // Until it is reaped, its number and its group's are nobody else's.
            case .running(let process): _ = send(process)
            case .over: break
            }
        }
    }

    /// Starts the program, and keeps the calling thread until the program has ended and is reaped. `deadline`: how long the
    /// program may take until it is killed. A process that it leaves behind with its output open keeps nobody waiting. Throws
    /// where the program cannot be started or watched: ECANCELED after `terminate` or `kill`.
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
        // What a pipe holds at most.
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

    /// Reads the pipes until the process has ended. Kills it at the end of its time, and then returns true.
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

    /// As poll(2) takes it: -1 where there is no end.
    private static func milliseconds(until end: ContinuousClock.Instant?) -> Int32 {
        guard let end else { return -1 }
        return Int32(max(0, min(ContinuousClock.now.duration(to: end) / .milliseconds(1), 1e9)).rounded(.up))
    }

    /// What the program left running goes with it.
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
