internal import Glibc

/// A clock of the kernel.
enum KernelClock {
    case monotonic
    /// The time that this thread had a processor.
    case thread

    var nanoseconds: UInt64 {
        var time = timespec()
        clock_gettime(self == .monotonic ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
