import CLinux
import Glibc

/// A thread in a network namespace. Its sockets belong to that namespace.
final class NamespaceThread {
    private final class Work {
        let namespace: Int32
        let body: @Sendable () -> Void

        init(namespace: Int32, body: @escaping @Sendable () -> Void) {
            self.namespace = namespace
            self.body = body
        }
    }

    private var thread = pthread_t()

    init(namespace name: String, _ body: @escaping @Sendable () -> Void) throws {
        let namespace = open("/run/netns/\(name)", O_RDONLY | O_CLOEXEC)
        guard namespace >= 0 else { throw Failure("open network namespace \(name): \(errorText())") }
        let work = Unmanaged.passRetained(Work(namespace: namespace, body: body))
        let code = pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                let work = Unmanaged<Work>.fromOpaque(argument).takeRetainedValue()
                let entered = clinux_enter_namespace(work.namespace)
                close(work.namespace)
                precondition(entered == 0, "enter a network namespace: \(errorText())")
                work.body()
                return nil
            }, work.toOpaque())
        guard code == 0 else {
            work.release()
            close(namespace)
            throw Failure("start a thread: \(String(cString: strerror(code)))")
        }
    }

    func join() { pthread_join(thread, nil) }
}

func errorText() -> String { String(cString: strerror(errno)) }

/// Returns the time of the monotonic clock in nanoseconds.
func nanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
