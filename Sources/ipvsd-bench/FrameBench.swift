import Addresses
import BPF
import CLibBPF
import CLinux
import Capture
import Glibc
import LoadBalancing
import Netlink
import Packets
import XDPDataPlane

/// The measurement of subjects by live frames on a veth pair, in a network namespace of this process's own. Frames
/// leave the near end, go through the measured subject at the far end, come back and are counted. All of it happens on
/// one CPU.
final class FrameBench {
    private let near: Link
    private let far: Link
    private let nearMAC: MACAddress
    private let farMAC: MACAddress
    private let object: BPFObject
    private let state: MappedArray<FrameState>
    private let pins: PinDirectory
    private let tables: BenchPlane
    private let busy: BusyTime
    /// The attachment at the far end.
    private let link: BPFLink
    /// The attachment at the near end; nil while the subject sends by the network stack. The kernel would copy the
    /// stack's packets for an XDP program.
    private var nearLink: BPFLink?
    private let frames: Int
    private var freshFlow: UInt64 = 1 << 28
    /// The names of the kinds of packets whose flows IPVS already has, since it keeps flows between rounds.
    private var prepared: Set<String> = []

    private static let cpu = 0
    private static let neighbour = "192.0.2.2"

    init(frames: Int, subjects: [FrameSubject]) throws {
        self.frames = frames
        guard clinux_unshare_network() == 0 else {
            throw Failure("make a network namespace: \(String(cString: strerror(errno)))")
        }
        guard clinux_stay_on_cpu(Int32(Self.cpu)) == 0 else {
            throw Failure("stay on CPU \(Self.cpu): \(String(cString: strerror(errno)))")
        }
        busy = try BusyTime(cpu: Self.cpu)
        let socket = try RouteSocket()
        try socket.createVeth(name: "near", peer: "far")
        guard let near = try socket.link(named: "near"), let far = try socket.link(named: "far"),
            let nearMAC = near.address, let farMAC = far.address
        else { throw Failure("no veth pair") }
        (self.near, self.far, self.nearMAC, self.farMAC) = (near, far, nearMAC, farMAC)

        pins = try PinDirectory()
        object = try BPFObject(.bench_frames)
        try object.setPinPath("\(pins.path)/frames", ofMap: "frames")
        try object.load()
        state = try pins.map("frames", FrameState.self).memory(writable: true)
        tables = try BenchPlane(pins: pins, interface: far.index, sourceMAC: farMAC, ownMAC: farMAC)

        // Without IPv6 the stack sends no frames of its own.
        try Tool.run("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 || true")
        for interface in [near.index, far.index] {
            try socket.setUp(true, interface: interface)
            _ = try Self.hook(interface).createQdisc()
        }
        link = try object.program(named: "sink").attachXDP(interface: far.index, mode: .native)
        // A capture finds the director by this pin.
        try link.pin(at: XDPDataPlane.linkPin(directory: pins.path, interface: far.index))
        try Self.hook(near.index).attach(object.program(named: "sink_stack"))
        if subjects.contains(where: \.usesStack) { try setUpStack() }
        if subjects.contains(.ipvs) { try setUpIPVS() }
        try awaitCarrier(of: near.index, socket)
    }

    private static func hook(_ interface: Int32) -> BPFProgram.TrafficControlHook {
        BPFProgram.TrafficControlHook(interface: interface, direction: .ingress, priority: 1, handle: 1)
    }

    private func awaitCarrier(of interface: Int32, _ socket: RouteSocket) throws {
        for _ in 0..<1000 {
            if try socket.link(index: interface)?.hasCarrier == true { return }
            usleep(1000)
        }
        throw Failure("the veth pair has no carrier")
    }

    /// Routes everything out of the far end again, to a neighbour that needs no ARP.
    private func setUpStack() throws {
        try Tool.run(
            """
            ip addr add 192.0.2.1/24 dev far
            ip neigh add \(Self.neighbour) lladdr \(nearMAC) dev far nud permanent
            ip route add default via \(Self.neighbour) dev far
            cd /proc/sys/net/ipv4
            echo 1 >ip_forward
            for i in all far; do echo 0 >conf/$i/rp_filter; echo 0 >conf/$i/send_redirects; done
            """)
    }

    private func setUpIPVS() throws {
        let vip = PacketKind.transmitting
        let real = (1...UInt32(BenchPlane.servers)).map { IPv4Address(0xAC10_0000 + $0) }
        let rules = ["-t", "-u"].flatMap { protocolFlag in
            let service = "\(protocolFlag) \(vip):\(PacketKind.port)"
            return ["-A \(service) -s rr"] + real.map { "-a \(service) -r \($0):\(PacketKind.port) -i -w 1" }
        }
        try Tool.run(
            """
            modprobe ip_vs
            modprobe ip_vs_rr
            ip addr add \(vip)/32 dev lo
            ip link set lo up
            ipvsadm -R <<'END'
            \(rules.joined(separator: "\n"))
            END
            """)
    }

    // MARK: Measuring

    /// Returns the nanoseconds of CPU time of one frame, for generator, veth, subject and sink together.
    func measure(_ subject: FrameSubject, _ kind: PacketKind) throws -> Double {
        try install(subject)
        defer { if subject == .stack { _ = try? Self.hook(far.index).detach() } }
        if subject.keepsFlows { try prepare(subject, kind) }
        let tap = try capture(subject)
        defer {
            if let tap {
                tap.detach()
                // The kernel frees the programs some time after they are detached, and nothing shows when.
                usleep(200_000)
            }
        }
        let spent = try send(subject, kind, kind.packet, count: frames) {
            guard kind.flows == nil else { return 0 }
            freshFlow += UInt64(frames)
            return freshFlow - UInt64(frames)
        }
        return Double(spent) / Double(frames)
    }

    private func capture(_ subject: FrameSubject) throws -> Tap? {
        guard [FrameSubject].captures.contains(subject) else { return nil }
        var filter = CaptureFilter()
        if subject == .capturedNone { filter.client = IPPrefix(.v4(IPv4Address(0xC633_6401)), length: 32) }
        return try Tap(directory: pins.path, filter: filter)
    }

    private func install(_ subject: FrameSubject) throws {
        if subject.usesStack {
            try nearLink?.detach()
            nearLink = nil
        } else if nearLink == nil {
            nearLink = try object.program(named: "sink").attachXDP(interface: near.index, mode: .native)
        }
        switch subject {
        case .harness: try link.update(to: object.program(named: "sink"))
        case .reflector: try link.update(to: object.program(named: "reflector"))
        case .floor: try link.update(to: object.program(named: "bare_encapsulation"))
        case .director, .redirectingDirector, .captured, .capturedNone: try link.update(to: tables.plane.program())
        case .stack, .forwarding, .ipvs: try link.update(to: object.program(named: "to_stack"))
        }
        if subject == .stack { try Self.hook(far.index).attach(object.program(named: "sink_stack")) }
    }

    private func prepare(_ subject: FrameSubject, _ kind: PacketKind) throws {
        let flows = kind.flows ?? 0
        if subject == .ipvs {
            guard prepared.insert(kind.name).inserted else { return }
        } else {
            tables.forgetFlows()
        }
        for packet in kind.preparation where flows > 0 {
            _ = try send(subject, kind, packet, count: flows) { 0 }
        }
    }

    /// Sends frames, and returns the nanoseconds of CPU time. Where a frame gets lost, all are sent again, in at most
    /// `attempts` attempts. The veth's queues of 256 frames overflow where another process has the CPU for a while.
    private func send(
        _ subject: FrameSubject, _ kind: PacketKind, _ packet: [UInt8], count: Int, first: () -> UInt64
    ) throws -> UInt64 {
        var loss = ""
        for _ in 0..<Self.attempts {
            let (spent, seen) = try attempt(subject, kind, packet, first: first(), count: count)
            let encapsulated = subject.encapsulates ? UInt64(count) : 0
            if seen.sent == UInt64(count), seen.arrived == UInt64(count), seen.encapsulated == encapsulated {
                return spent
            }
            loss = "\(seen.sent) were sent, \(seen.arrived) arrived, \(seen.encapsulated) of them encapsulated"
        }
        throw Failure("\(subject.rawValue), \(kind.name): in \(Self.attempts) attempts, of \(count) frames \(loss)")
    }

    private static let attempts = 10

    /// Sends frames, and waits until the last one has arrived, but for at most 10,000 turns of the kernel's scheduler.
    private func attempt(
        _ subject: FrameSubject, _ kind: PacketKind, _ packet: [UInt8], first: UInt64, count: Int
    ) throws -> (spent: UInt64, seen: FrameState) {
        let packet = kind.packet(packet, to: address(of: subject))
        state[0] = FrameState(packet, from: nearMAC, to: farMAC, first: first, flows: kind.flows ?? 0)
        let generator = try object.program(named: "generate")
        let start = try busy.nanoseconds()
        try generator.runLive(frames: count, size: packet.count, ingress: near.index)
        var patience = 10_000
        while state[0].arrived < UInt64(count), patience > 0 {
            sched_yield()
            patience -= 1
        }
        return (try busy.nanoseconds() - start, state[0])
    }

    private func address(of subject: FrameSubject) -> IPv4Address {
        switch subject {
        case .redirectingDirector: PacketKind.redirecting
        case .forwarding: PacketKind.nobody
        default: PacketKind.transmitting
        }
    }
}

extension PacketKind {
    /// The kinds of packets that live frames are measured with.
    static let frames = [
        PacketKind(name: "TCP, 1 flow", vip: transmitting, flows: 1),
        PacketKind(name: "TCP, 16 k flows", vip: transmitting, flows: 16_384),
        PacketKind(name: "UDP, 1 flow", vip: transmitting, transport: .udp, flows: 1),
        PacketKind(name: "TCP, new flows", vip: transmitting),
    ]

    /// Returns the packet with another destination address.
    func packet(_ packet: [UInt8], to destination: IPv4Address) -> [UInt8] {
        var packet = packet
        packet[Self.packetOffset...].write(destination, at: IPv4.destination)
        return packet
    }
}

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

    /// Makes the state for frames of 64 bytes. The program `generate` sets the client of each.
    init(_ packet: [UInt8], from source: MACAddress, to destination: MACAddress, first: UInt64, flows: Int) {
        var bytes = packet
        bytes.replaceSubrange(Ethernet.addresses, with: destination.bytes + source.bytes)
        flow = first
        self.flows = UInt64(flows)
        bytes.withUnsafeBytes { raw in
            for index in 0..<8 { frame[index] = raw.loadUnaligned(fromByteOffset: 8 * index, as: UInt64.self) }
        }
        // The header's checksum and client are 0 here. The program `generate` adds them.
        let header = bytes[Ethernet.length...].prefix(IPv4.length)
        checksum = UInt64((~InternetChecksum.of(header)).bigEndian)
    }
}

extension BPFProgram {
    /// Runs the program on `count` frames as if they had come in on the interface. The kernel carries out the program's
    /// verdicts (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18).
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
