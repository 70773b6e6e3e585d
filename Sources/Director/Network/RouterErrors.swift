@preconcurrency internal import Dispatch
internal import Glibc
internal import HostState
internal import SystemCalls

/// What routers say of tunnelled packets, as a sequence, without holding a thread. By a raw socket: a kernel without
/// ipip, or with a tunnel device of other ends, throws such messages away.
enum RouterErrors {
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
                // Whatever is left makes the source fire again.
                for _ in 0..<64 {
                    let count = recv(descriptor, &buffer, buffer.count, 0)
                    guard count > 0 else { break }
                    if let error = FragmentationNeeded(packet: Array(buffer.prefix(count))) {
                        continuation.yield(error)
                    }
                }
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
