internal import NIOCore
internal import Processes

extension ChildProcess {
    /// Of a check's or a notification's program 4 KiB are kept of each stream.
    static func script(_ arguments: [String], environment: [String: String]) -> ChildProcess {
        ChildProcess(arguments, environment: environment, streams: .kept(limit: 4096))
    }

    /// Runs the program on a thread of its own: a check that starts a program has no use for a cheaper way. `completion` runs
    /// on the event loop when the program has ended and is reaped; where there is no thread, before this returns.
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
