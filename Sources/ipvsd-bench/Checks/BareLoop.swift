import Addresses
import CLinux
import Glibc
import LoadBalancing
import XDPDataPlane

/// A loop that does the least work that checks need. One thread connects through the tunnel at fixed times, with an
/// epoll, and keeps no state of checks.
enum BareLoop {
    struct Result: Sendable {
        var started = 0
        var answered = 0
        var seconds = 0.0
        /// Seconds of CPU time of this thread.
        var cpu = 0.0
    }

    /// Connects to `servers` real servers in turn, `rate` times a second. The sockets' marks name the ids from 1 on,
    /// which a new director assigns first.
    static func run(rate: Int, seconds: Int, servers: Int) -> Result {
        let device = Int32(if_nametoindex("ipvsd0"))
        let (source, vip) = (ChecksLab.director.value.bigEndian, ChecksLab.vip.value.bigEndian)
        let epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        defer { close(epoll) }
        var events = [epoll_event](repeating: epoll_event(), count: 256)
        var result = Result()
        let total = rate * seconds
        let interval = 1_000_000_000 / UInt64(rate)
        let (cpu, start) = (threadTime(), nanoseconds())
        let end = start + UInt64(seconds + 1) * 1_000_000_000
        var ended = 0
        while ended < total, nanoseconds() < end {
            let due = min(total, Int((nanoseconds() - start) / interval))
            while result.started < due {
                let mark = XDPDataPlane.checkMark(server: 1 + UInt32(result.started % servers))
                let descriptor = clinux_connect(source, vip, ChecksLab.port, mark, device)
                result.started += 1
                guard descriptor >= 0 else {
                    ended += 1
                    continue
                }
                var event = epoll_event(events: EPOLLOUT.rawValue, data: epoll_data(fd: descriptor))
                epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event)
            }
            let (now, next) = (nanoseconds(), start + UInt64(result.started + 1) * interval)
            let sleep = next > now ? min((next - now) / 1_000_000 + 1, 100) : 0
            let count = epoll_wait(epoll, &events, Int32(events.count), Int32(sleep))
            for event in events.prefix(max(0, Int(count))) {
                if clinux_socket_error(event.data.fd) == 0 { result.answered += 1 }
                close(event.data.fd)
                ended += 1
            }
        }
        result.cpu = Double(threadTime() - cpu) / 1e9
        result.seconds = Double(nanoseconds() - start) / 1e9
        return result
    }
}
