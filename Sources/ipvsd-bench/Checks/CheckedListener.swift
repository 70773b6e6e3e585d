import CLinux
import Glibc
import Synchronization

/// Takes the checks' connections, and counts them.
final class CheckedListener: Sendable {
    private let taken = Atomic(0)
    private let isOver = Atomic(false)

    var count: Int { taken.load(ordering: .relaxed) }

    func stop() { isOver.store(true, ordering: .relaxed) }

    func run(port: UInt16) {
        guard let listener = try? WebServer.listen(port: port) else { return }
        defer { close(listener) }
        var ready = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
        while !isOver.load(ordering: .relaxed) {
            poll(&ready, 1, 100)
            while case let descriptor = clinux_accept(listener), descriptor >= 0 {
                close(descriptor)
                taken.add(1, ordering: .relaxed)
            }
        }
    }
}
