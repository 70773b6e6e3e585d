import Addresses
import Glibc
import Netlink
import Packets

/// `struct frame_state` of bench_frames.bpf.c.
struct FrameState: BitwiseCopyable {
    var flow: UInt64 = 0
    var flows: UInt64 = 0
    var sent: UInt64 = 0
    var arrived: UInt64 = 0
    var encapsulated: UInt64 = 0
    var checksum: UInt64 = 0
    var frame: SIMD8<UInt64> = .zero

    init() {}

    /// A 64-byte frame from any client.
    init(_ packet: [UInt8], from source: MACAddress, to destination: MACAddress, first: UInt64, flows: Int) {
        var bytes = packet
        bytes.replaceSubrange(Ethernet.addresses, with: destination.bytes + source.bytes)
        flow = first
        self.flows = UInt64(flows)
        bytes.withUnsafeBytes { raw in
            for index in 0..<8 { frame[index] = raw.loadUnaligned(fromByteOffset: 8 * index, as: UInt64.self) }
        }
        // The checksum and the client, which the program adds, are 0.
        let header = bytes[Ethernet.length...].prefix(IPv4.length)
        checksum = UInt64((~InternetChecksum.of(header)).bigEndian)
    }
}
