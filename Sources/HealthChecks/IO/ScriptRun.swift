internal import CLinux
internal import Glibc
internal import NIOConcurrencyHelpers
internal import NIOCore

/// A running program and its process group. A thread waits for it: a check that starts a program has no use for a
/// cheaper way.
final class ScriptRun: Sendable {
    private enum State {
        case starting
        case running(pid_t)
        case ended
    }

    private let state = NIOLockedValueBox(State.starting)

    /// Bytes kept of each stream; the rest is read and dropped.
    private static let kept = 4096

    /// Starts the program; `completion` runs on the event loop when it has ended and is reaped.
    func start(
        arguments: [String], environment: [String: String], eventLoop: any EventLoop,
        completion: @escaping @Sendable (Result<ScriptResult, ScriptFailure>) -> Void
    ) {
        let failure = DetachedThread.start {
            let result = self.run(arguments: arguments, environment: environment)
            eventLoop.execute { completion(result) }
        }
        if let failure { completion(.failure(failure)) }
    }

    /// Kills the group, unless it has gone already.
    func kill() {
        state.withLockedValue { state in
            switch state {
            case .running(let process): _ = Glibc.kill(-process, SIGKILL)
            case .starting: state = .ended
            case .ended: break
            }
        }
    }

    private func run(arguments: [String], environment: [String: String]) -> Result<ScriptResult, ScriptFailure> {
        guard let output = Pipe(), let errors = Pipe() else { return .failure(Self.failure("pipe", errno)) }
        var process: pid_t = 0
        let code = state.withLockedValue { state -> Int32 in
            guard case .starting = state else { return ECANCELED }
            let code = Self.spawn(arguments, environment, output.write, errors.write, &process)
            state = code == 0 ? .running(process) : .ended
            return code
        }
        output.closeWrite()
        errors.closeWrite()
        guard code == 0 else { return .failure(Self.failure("start \(arguments[0])", code)) }
        var result = ScriptResult(ending: .exited(0), output: [], errors: [])
        let descriptor = clinux_process_descriptor(process)
        if descriptor >= 0 {
            collect(descriptor, output, errors, into: &result)
            close(descriptor)
        } else {
            // Not asked for output then; it has until the deadline all the same.
            var info = siginfo_t()
            while waitid(P_PID, id_t(process), &info, WEXITED | WNOWAIT) < 0, errno == EINTR {}
        }
        result.ending = reap(process)
        return .success(result)
    }

    /// Reads both streams until the process has ended, and then what is left in them.
    private func collect(_ process: Int32, _ output: Pipe, _ errors: Pipe, into result: inout ScriptResult) {
        var watched = [process, output.read, errors.read].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        while watched[0].revents == 0 {
            guard poll(&watched, nfds_t(watched.count), -1) >= 0 || errno == EINTR else { return }
            if watched[1].revents != 0, !Self.drain(output.read, into: &result.output) { watched[1].fd = -1 }
            if watched[2].revents != 0, !Self.drain(errors.read, into: &result.errors) { watched[2].fd = -1 }
        }
        _ = Self.drain(output.read, into: &result.output)
        _ = Self.drain(errors.read, into: &result.errors)
    }

    /// False at the end of the stream. At most 64 KiB a call, so that a talkative program does not hide another's end.
    private static func drain(_ descriptor: Int32, into bytes: inout [UInt8]) -> Bool {
        var buffer = [UInt8](repeating: 0, count: 4096)
        for _ in 0..<16 {
            let count = read(descriptor, &buffer, buffer.count)
            if count == 0 { return false }
            if count < 0 { return errno == EAGAIN || errno == EINTR }
            bytes += buffer.prefix(min(count, kept - bytes.count))
        }
        return true
    }

    /// What the program left running goes with it: until its leader is reaped, the group's number is nobody else's.
    private func reap(_ process: pid_t) -> ScriptResult.Ending {
        state.withLockedValue { state in
            _ = Glibc.kill(-process, SIGKILL)
            var status: Int32 = 0
            while waitpid(process, &status, 0) < 0, errno == EINTR {}
            state = .ended
            let signal = status & 0x7F
            return signal == 0 ? .exited(status >> 8 & 0xFF) : .signalled(signal)
        }
    }

    private static func spawn(
        _ arguments: [String], _ environment: [String: String], _ output: Int32, _ errors: Int32,
        _ process: inout pid_t
    ) -> Int32 {
        var argv = arguments.map { strdup($0) } + [nil]
        var envp = environment.map { strdup("\($0)=\($1)") } + [nil]
        defer { for text in argv + envp { free(text) } }
        return clinux_spawn(&argv, &envp, output, errors, &process)
    }

    private static func failure(_ operation: String, _ code: Int32) -> ScriptFailure {
        ScriptFailure(reason: "\(operation): \(String(cString: strerror(code)))")
    }
}

/// A pipe that closes what it still holds.
private final class Pipe {
    let read: Int32
    private(set) var write: Int32

    init?() {
        var ends: [Int32] = [-1, -1]
        guard clinux_pipe(&ends) == 0 else { return nil }
        (read, write) = (ends[0], ends[1])
    }

    func closeWrite() {
        close(write)
        write = -1
    }

    deinit {
        close(read)
        if write >= 0 { close(write) }
    }
}
