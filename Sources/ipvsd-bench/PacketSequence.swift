import BPF
import CLibBPF
import CLinux
import Glibc
import SystemCalls

/// `struct sequence` of bench_packets.bpf.c.
struct PacketSequence: BitwiseCopyable {
    var flow: UInt64
    var flows: UInt64
    var frame: UInt64
    /// A flow's destination port is the service's first one plus these of its bits.
    var portMask: UInt64
    /// Of the flow table.
    var bucketMask: UInt64
    var packets: UInt64 = 0
    var encapsulated: UInt64 = 0
    /// The destination's MAC, the first byte lowest, and the first two of the source's.
    var macs: UInt64 = 0x0002_0200_0000_0002
}

/// Runs of a program on a packet, timed.
struct RepeatedRun {
    /// Nanoseconds of this thread's CPU time. (The kernel's own `duration` is rounded down to whole ones a packet.)
    var cpuTime: UInt64
    var verdict: UInt32
    /// As the last run left it.
    var packet: [UInt8]
}

extension BPFProgram {
    /// Runs the program `count` times, each time on what the last run left.
    func run(packet: [UInt8], times count: Int) throws(BPFError) -> RepeatedRun {
        var output = [UInt8](repeating: 0, count: packet.count + 64)
        var options = bpf_test_run_opts()
        options.sz = MemoryLayout<bpf_test_run_opts>.offset(ofStored: \.flags)
        options.repeat = Int32(count)
        var time: UInt64 = 0
        let code = packet.withUnsafeBytes { input in
            output.withUnsafeMutableBytes { out in
                options.data_in = input.baseAddress
                options.data_size_in = UInt32(input.count)
                options.data_out = out.baseAddress
                options.data_size_out = UInt32(out.count)
                let start = threadTime()
                let code = bpf_prog_test_run_opts(descriptor, &options) == 0 ? 0 : errno
                time = threadTime() - start
                return code
            }
        }
        if code != 0 { throw BPFError("test run", code: code) }
        return RepeatedRun(
            cpuTime: time, verdict: options.retval, packet: Array(output.prefix(Int(options.data_size_out))))
    }
}

/// Nanoseconds of CPU time that this thread has used.
func threadTime() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
