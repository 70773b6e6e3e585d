import BPF
import CLibBPF
import CLinux
import Glibc
import SystemCalls

/// The state of next_packet: `struct sequence` of bench_packets.bpf.c.
struct PacketSequence: BitwiseCopyable {
    /// The number of the next packet's flow.
    var flow: UInt64
    /// The number of flows that take turns; 0: each packet has another flow.
    var flows: UInt64
    /// The length of a packet in bytes, as it comes in.
    var frame: UInt64
    /// The bits of the flow's number that are added to the first service's port.
    var portMask: UInt64
    /// The number of the flow table's buckets, less one.
    var bucketMask: UInt64
    /// The number of packets so far.
    var packets: UInt64 = 0
    /// The number of packets that a later run found encapsulated.
    var encapsulated: UInt64 = 0
    /// The destination's MAC address, its first byte lowest, and the first two bytes of the source's.
    var macs: UInt64 = 0x0002_0200_0000_0002
}

/// The result of repeated runs of a program on a packet.
struct RepeatedRun {
    /// The nanoseconds of this thread's CPU time for all runs. The kernel's own `duration` would be rounded down to
    /// whole nanoseconds of a packet.
    var cpuTime: UInt64
    var verdict: UInt32
    /// The packet after the last run.
    var packet: [UInt8]
}

extension BPFProgram {
    /// Runs the program `count` times. Each run gets the packet as the previous run left it.
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

/// Returns the nanoseconds of CPU time of this thread.
func threadTime() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
