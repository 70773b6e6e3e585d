internal import Glibc
internal import NIOCore

extension Duration {
    /// The text of a duration in error messages, in seconds with up to three decimals: "0.7 s".
    var seconds: String {
        let milliseconds = components.seconds * 1_000 + components.attoseconds / 1_000_000_000_000_000
        guard milliseconds % 1_000 != 0 else { return "\(milliseconds / 1_000) s" }
        var fraction = String(1_000 + milliseconds % 1_000).dropFirst()
        while fraction.last == "0" { fraction.removeLast() }
        return "\(milliseconds / 1_000).\(fraction) s"
    }

    var timeAmount: TimeAmount { .nanoseconds(Int64(nanoseconds)) }

    /// The number of whole nanoseconds. A negative duration gives 0.
    var nanoseconds: UInt64 {
        UInt64(max(0, components.seconds * 1_000_000_000 + components.attoseconds / 1_000_000_000))
    }
}

/// A clock of the kernel.
enum KernelClock {
    case monotonic
    /// The processor time of the calling thread.
    case thread

    var nanoseconds: UInt64 {
        var time = timespec()
        clock_gettime(self == .monotonic ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
