internal import NIOCore
internal import NIOPosix
internal import Processes

/// One run of a notification's program. It runs without a shell, in a process group of its own, with standard input
/// from /dev/null and no descriptor of the daemon. When it ends, or at the deadline, the whole group is killed.
package final class ProgramRun: Sendable {
    package static let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    /// The most lines of output that are kept.
    private static let kept = 20

    package struct Ending: Sendable {
        /// The first lines of both streams, from at most 4 KiB of each.
        package var lines: [String]
        /// The reason of a failure, or nil for exit code 0.
        package var failure: String?
        package var timedOut: Bool
    }

    private let process: ChildProcess
    private let deadline: Duration

    package init(arguments: [String], environment: [String: String], deadline: Duration) {
        process = .script(arguments, environment: environment)
        self.deadline = deadline
    }

    /// Starts the program, and returns at once. `completion` is called once, on a thread that it must not block.
    package func run(completion: @escaping @Sendable (Ending) -> Void) {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        process.start(deadline: deadline, eventLoop: eventLoop) { result in
            // If no thread can be started, `start` calls this closure before it returns.
            eventLoop.execute { completion(self.ending(result)) }
        }
    }

    package func kill() { process.kill() }

    private func ending(_ result: Result<ChildProcess.Outcome, ScriptFailure>) -> Ending {
        switch result {
        case .failure(let failure): return Ending(lines: [], failure: failure.reason, timedOut: false)
        case .success(let outcome):
            let failure: String? =
                switch outcome.ending {
                case _ where outcome.isLate: "killed after \(deadline)"
                case .exited(0): nil
                case .exited(let code): "exit code \(code)"
                case .signalled(let signal): "killed by signal \(signal)"
                }
            return Ending(
                lines: Array([outcome.output, outcome.errors].flatMap(Self.lines).prefix(Self.kept)), failure: failure,
                timedOut: outcome.isLate)
        }
    }

    private static func lines(_ bytes: [UInt8]) -> [String] {
        bytes.split(separator: 10).map { line in
            String(decoding: line.filter { $0 >= 32 && $0 != 127 }, as: UTF8.self)
        }.filter { !$0.isEmpty }
    }
}

extension ChildProcess {
    /// Creates the run of a check's or a notification's program. The first 4 KiB of each output stream are kept.
    static func script(_ arguments: [String], environment: [String: String]) -> ChildProcess {
        ChildProcess(arguments, environment: environment, streams: .kept(limit: 4096))
    }

    /// Runs the program on a thread of its own, whose cost is small beside the program's. `completion` is called on the
    /// event loop once the program is reaped. If no thread can be started, `completion` is called before this function
    /// returns.
    func start(
        deadline: Duration? = nil, eventLoop: any EventLoop,
        completion: @escaping @Sendable (Result<Outcome, ScriptFailure>) -> Void
    ) {
        let failure = DetachedThread.start {
            let result: Result<Outcome, ScriptFailure>
            do { result = .success(try self.run(deadline: deadline)) } catch {
                result = .failure(ScriptFailure(reason: "\(error)"))
            }
            eventLoop.execute { completion(result) }
        }
        if let failure { completion(.failure(failure)) }
    }
}
