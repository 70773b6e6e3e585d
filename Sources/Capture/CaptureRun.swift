internal import Addresses
internal import Glibc
internal import LoadBalancing
internal import XDPDataPlane

/// A capture from its beginning to its end: packets go from the tap to the output.
public struct CaptureRun {
    public enum Ending: Equatable, Sendable {
        /// A signal ended the capture, `count` or `duration` was reached, or the output's reader has gone.
        case asked
        /// The director's program was missing on all interfaces for more than a second.
        case directorGone
    }

    public struct Report: Sendable {
        public var ending: Ending
        /// The number of packets in the output.
        public var packets: UInt64
        public var lost: UInt64
    }

    /// The number of packets after which the capture ends; nil: no limit.
    public var count: UInt64?
    public var duration: Duration?
    /// Returns whether the capture has to end. The run calls it at least every 50 ms.
    public var isStopped: () -> Bool
    /// Writes output. Returns false where the reader has gone.
    public var write: ([UInt8]) throws -> Bool
    /// Prints a remark for the operator, apart from the output.
    public var say: (String) -> Void

    private let tap: Tap
    private var output: any CaptureOutput
    private var finder: EgressFinder?
    private let directory: String
    private var names: [UInt32: String] = [:]
    /// The counts by index of the ingress interface. Losses are those of the last packet's record, and at the end those
    /// of the tap.
    private var counts: [UInt32: CaptureCounts] = [:]
    private var packets: UInt64 = 0
    private var remark: String?
    private var pending: [UInt8] = []

    /// The longest wait for packets, in milliseconds. Between two waits, the run notices swapped programs and requests
    /// to end.
    private static let pause: Int32 = 50
    /// The time without a program after which the director counts as gone. A change of the XDP mode leaves a short gap.
    private static let patience = Duration.seconds(1)
    /// The number of pending bytes at which reading pauses until they are written.
    private static let enough = 1 << 18

    public init(
        tap: Tap, output: any CaptureOutput, directory: String, isStopped: @escaping () -> Bool,
        write: @escaping ([UInt8]) throws -> Bool, say: @escaping (String) -> Void
    ) throws {
        self.tap = tap
        self.output = output
        self.directory = directory
        self.isStopped = isStopped
        self.write = write
        self.say = say
        finder = try EgressFinder(directory: directory)
    }

    public mutating func run() throws -> Report {
        let deadline = duration.map { ContinuousClock.now + $0 }
        var ending = Ending.asked
        var present = ContinuousClock.now
        var isRead = try write(output.begin(tap.interfaces.map { ($0, name(of: $0)) }, now: Clock.now()))
        while isRead, !isStopped(), !isComplete, deadline.map({ .now < $0 }) ?? true {
            try read(waiting: Self.pause)
            isRead = try flush()
            switch try tap.follow() {
            case .none: present = .now
            case .followed(let gap):
                present = .now
                finder = try EgressFinder(directory: directory)
                tell(of: gap)
            case .gone: ending = .directorGone
            }
            if ending == .directorGone {
                if present.duration(to: .now) > Self.patience { break }
                ending = .asked
            }
        }
        tap.detach()
        // This loop reads all packets that are still in the buffer.
        var last: UInt64?
        while isRead, !isComplete, packets != last {
            last = packets
            try read(waiting: 0)
            isRead = try flush()
        }
        for (interface, lost) in try tap.lost() { counts[interface, default: CaptureCounts()].lost = lost }
        if isRead { _ = try write(output.end(counts, now: Clock.now())) }
        return Report(ending: ending, packets: packets, lost: counts.values.reduce(0) { $0 + $1.lost })
    }

    private var isComplete: Bool { count.map { packets >= $0 } ?? false }

    private mutating func tell(of gap: Duration) {
        let milliseconds = gap.components.seconds * 1000 + gap.components.attoseconds / 1_000_000_000_000_000
        remark = "the director's program was swapped: packets of up to \(milliseconds + 1) ms were not seen"
        say("\(remark ?? ""); capturing goes on")
    }

    private mutating func read(waiting milliseconds: Int32) throws {
        let offset = Clock.offset()
        let until = ContinuousClock.now + .milliseconds(Int(Self.pause))
        try tap.read(waiting: milliseconds) { packet in
            show(packet, offset: offset)
            return !isComplete && pending.count < Self.enough && .now < until
        }
    }

    private mutating func flush() throws -> Bool {
        defer { pending.removeAll(keepingCapacity: true) }
        return try write(pending)
    }

    private mutating func show(_ packet: CapturedPacket, offset: Int64) {
        let frames = [(packet.before, PcapNG.Direction.inbound), (packet.after, .outbound)]
        guard packet.before != nil || packet.after != nil else { return }
        packets += 1
        var counts = counts[packet.ingress] ?? CaptureCounts()
        // CPUs that lose packets at the same time may deliver their counts out of order.
        let more = Int32(bitPattern: packet.lost &- UInt32(truncatingIfNeeded: counts.lost))
        var lost = UInt64(max(more, 0))
        counts.lost += lost
        counts.shown += 1
        self.counts[packet.ingress] = counts
        for (frame, direction) in frames {
            guard let frame else { continue }
            let interface = direction == .inbound ? packet.ingress : egress(of: packet, frame)
            pending += output.show(
                ShownFrame(
                    packet: packet, frame: frame, direction: direction, interface: interface,
                    name: name(of: interface), time: UInt64(Int64(frame.time) + offset), number: packets, lost: lost,
                    remark: remark))
            lost = 0
            remark = nil
        }
    }

    /// Returns the index of the egress interface; 0: unknown. Packets of XDP_TX and answers leave by the ingress
    /// interface.
    private mutating func egress(of packet: CapturedPacket, _ frame: CapturedPacket.Frame) -> UInt32 {
        guard packet.isRedirected, let server = packet.server?.v4 else { return packet.ingress }
        if packet.isFragmented { return finder?.fragmentingInterface ?? 0 }
        return finder?.interface(macs: frame.bytes.prefix(12), server: server) ?? 0
    }

    private mutating func name(of interface: UInt32) -> String {
        if let name = names[interface] { return name }
        if interface == 0 { return "unknown" }
        let name = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(IF_NAMESIZE)) { buffer in
            if_indextoname(interface, buffer.baseAddress).map { String(cString: $0) }
        }
        guard let name else { return "interface \(interface)" }
        names[interface] = name
        return name
    }
}

/// The kernel's clocks, in nanoseconds.
private enum Clock {
    static func read(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    /// Returns the time since 1970.
    static func now() -> UInt64 { UInt64(read(CLOCK_REALTIME)) }

    /// Returns the present offset of CLOCK_REALTIME from CLOCK_MONOTONIC.
    static func offset() -> Int64 { read(CLOCK_REALTIME) - read(CLOCK_MONOTONIC) }
}
