@preconcurrency internal import Dispatch
internal import Glibc
internal import HostState
internal import SystemCalls

/// What routers say of tunnelled packets, as a sequence, without holding a thread. By a raw socket: a kernel without
/// ipip, or with a tunnel device of other ends, throws such messages away.
enum RouterErrors {
    /// The number of messages that are read before each pause, so that a flood of them does not keep the director busy.
    private static let burst = 64
    private static let pause = DispatchTimeInterval.milliseconds(50)

    static func events() throws(SystemError) -> AsyncStream<FragmentationNeeded> {
        let type = SOCK_RAW.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue
        let descriptor = socket(AF_INET, Int32(type), Int32(IPPROTO_ICMP))
        guard descriptor >= 0 else { throw SystemError("open a raw socket for ICMP", code: errno) }
        // ICMP_FILTER of SOL_RAW: bit n keeps type n away.
        var filter = ~(UInt32(1) << 3)
        setsockopt(descriptor, 255, 1, &filter, socklen_t(MemoryLayout<UInt32>.size))
        let queue = DispatchQueue(label: "router errors")
        return AsyncStream(bufferingPolicy: .bufferingNewest(256)) { continuation in
            let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
            source.setEventHandler {
                var buffer = [UInt8](repeating: 0, count: 2048)
                for _ in 0..<burst {
                    let count = recv(descriptor, &buffer, buffer.count, 0)
                    guard count > 0 else { return }
                    if let error = FragmentationNeeded(packet: Array(buffer.prefix(count))) {
                        continuation.yield(error)
                    }
                }
                // Whatever is left makes the source fire again.
                source.suspend()
                queue.asyncAfter(deadline: .now() + pause) { source.resume() }
            }
            source.setCancelHandler {
                close(descriptor)
                continuation.finish()
            }
            continuation.onTermination = { _ in source.cancel() }
            source.resume()
        }
    }
}
