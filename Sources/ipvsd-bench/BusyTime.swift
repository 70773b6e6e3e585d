import Glibc

/// The CPU time of this thread and of its CPU's ksoftirqd together. ksoftirqd does the deferred part of the work on
/// packets. The kernel adds the time of other softirqs to the thread that they interrupt, unless it has
/// IRQ_TIME_ACCOUNTING.
struct BusyTime {
    private let scheduling: String

    /// Finds ksoftirqd of `cpu`. The calling thread has to stay on that CPU.
    init(cpu: Int) throws {
        for process in 1..<4096 {
            guard let name = Self.text("/proc/\(process)/comm"), name == "ksoftirqd/\(cpu)\n" else { continue }
            scheduling = "/proc/\(process)/schedstat"
            _ = try nanoseconds()
            return
        }
        throw Failure("find ksoftirqd/\(cpu) among the processes up to 4095")
    }

    func nanoseconds() throws -> UInt64 {
        guard let field = Self.text(scheduling)?.split(separator: " ").first, let deferred = UInt64(field) else {
            throw Failure("read \(scheduling)")
        }
        return threadTime() + deferred
    }

    private static func text(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = read(descriptor, &bytes, bytes.count)
        return count < 0 ? nil : String(decoding: bytes.prefix(count), as: UTF8.self)
    }
}
