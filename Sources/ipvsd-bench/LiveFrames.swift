import BPF
import CLibBPF
import Glibc

extension BPFProgram {
    /// Has the program make `count` frames as if they had come in on the interface: what it says of them is done
    /// (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18).
    func runLive(frames count: Int, size: Int, ingress: Int32) throws(BPFError) {
        let frame = [UInt8](repeating: 0, count: size)
        var context = xdp_md()
        context.data_end = UInt32(size)
        context.ingress_ifindex = UInt32(ingress)
        var options = bpf_test_run_opts()
        options.sz = MemoryLayout<bpf_test_run_opts>.size
        options.repeat = Int32(count)
        options.flags = UInt32(BPF_F_TEST_XDP_LIVE_FRAMES)
        let code = frame.withUnsafeBytes { input in
            withUnsafeMutablePointer(to: &context) { context in
                options.data_in = input.baseAddress
                options.data_size_in = UInt32(size)
                options.ctx_in = UnsafeRawPointer(context)
                options.ctx_size_in = UInt32(MemoryLayout<xdp_md>.size)
                return bpf_prog_test_run_opts(descriptor, &options) == 0 ? 0 : errno
            }
        }
        if code != 0 { throw BPFError("test run with live frames", code: code) }
    }
}
