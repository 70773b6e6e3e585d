internal import CLinux
internal import Glibc

/// A thread that nobody joins.
enum DetachedThread {
    private final class Work {
        let body: @Sendable () -> Void

        init(body: @escaping @Sendable () -> Void) { self.body = body }
    }

    /// nil, or why there is none.
    static func start(_ body: @escaping @Sendable () -> Void) -> ScriptFailure? {
        let work = Unmanaged.passRetained(Work(body: body))
        let code = clinux_start_thread(
            { argument in
                if let argument { Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body() }
                return nil
            }, work.toOpaque())
        guard code == 0 else {
            work.release()
            return ScriptFailure(reason: "start a thread: \(String(cString: strerror(code)))")
        }
        return nil
    }
}
