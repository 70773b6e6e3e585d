internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// One run of a program outside of checks, until its deadline: executed as it is, without a shell, in a process group
/// of its own, with standard input from /dev/null and no descriptor of the daemon. When it ends, or at the deadline,
/// the whole group is killed.
package final class ProgramRun: Sendable {
    package static let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    /// Lines that are worth the log.
    private static let kept = 20

    package struct Ending: Sendable {
        /// The first of both streams, of at most 4 KiB of each.
        package var lines: [String]
        /// Nil: exit code 0.
        package var failure: String?
        package var timedOut: Bool
    }

    private let arguments: [String]
    private let environment: [String: String]
    private let deadline: Duration
    private let run = ScriptRun()
    private let isLate = Mutex(false)

    package init(arguments: [String], environment: [String: String], deadline: Duration) {
        self.arguments = arguments
        self.environment = environment
        self.deadline = deadline
    }

    /// Returns at once; `completion` is called once, on a thread that must not be kept.
    package func run(completion: @escaping @Sendable (Ending) -> Void) {
        let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
        let limit = TimeAmount.nanoseconds(Int64(deadline / .nanoseconds(1)))
        let timer = eventLoop.scheduleTask(in: limit) {
            self.isLate.withLock { $0 = true }
            self.run.kill()
        }
        run.start(arguments: arguments, environment: environment, eventLoop: eventLoop) { result in
            timer.cancel()
            // Also where there was no thread for it: never on the caller's stack.
            eventLoop.execute { completion(self.ending(result)) }
        }
    }

    package func kill() { run.kill() }

    private func ending(_ result: Result<ScriptResult, ScriptFailure>) -> Ending {
        let isLate = isLate.withLock(\.self)
        switch result {
        case .failure(let failure): return Ending(lines: [], failure: failure.reason, timedOut: isLate)
        case .success(let result):
            let failure: String? =
                switch result.ending {
                case _ where isLate: "killed after \(deadline)"
                case .exited(0): nil
                case .exited(let code): "exit code \(code)"
                case .signalled(let signal): "killed by signal \(signal)"
                }
            return Ending(
                lines: Array([result.output, result.errors].flatMap(Self.lines).prefix(Self.kept)), failure: failure,
                timedOut: isLate)
        }
    }

    private static func lines(_ bytes: [UInt8]) -> [String] {
        bytes.split(separator: 10).map { line in
            String(decoding: line.filter { $0 >= 32 && $0 != 127 }, as: UTF8.self)
        }.filter { !$0.isEmpty }
    }
}
