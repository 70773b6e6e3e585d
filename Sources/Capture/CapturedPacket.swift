public import Addresses
public import DataPlane
import LoadBalancing
internal import PacketPrograms
internal import XDPDataPlane

/// A packet that the director had, and what became of it.
public struct CapturedPacket: Sendable {
    public struct Frame: Sendable, Equatable {
        /// Its beginning, or all of it.
        public var bytes: [UInt8]
        /// On the wire.
        public var length: UInt32
        /// Nanoseconds of CLOCK_MONOTONIC.
        public var time: UInt64

        public init(bytes: [UInt8], length: UInt32, time: UInt64) {
            self.bytes = bytes
            self.length = length
            self.time = time
        }
    }

    /// The index of the interface.
    public var ingress: UInt32
    /// XDP's.
    public var verdict: UInt32
    /// As it came in, and as it left; nil where it did not, or that was not asked for.
    public var before: Frame?
    public var after: Frame?
    /// What it counted.
    public var counters: [PacketCounter]
    /// To which it was forwarded encapsulated.
    public var server: IPAddress?
    /// Packets of its interface that found no room in the ring so far, modulo 2^32.
    public var lost: UInt32

    public init(
        ingress: UInt32, verdict: UInt32, before: Frame?, after: Frame?, counters: [PacketCounter],
        server: IPAddress?, lost: UInt32
    ) {
        self.ingress = ingress
        self.verdict = verdict
        self.before = before
        self.after = after
        self.counters = counters
        self.server = server
        self.lost = lost
    }

    /// What the capture programs hand over; nil for what they never do.
    init?(record: UnsafeRawBufferPointer, wants direction: CaptureFilter.Direction) {
        guard record.count >= MemoryLayout<ipvsd_captured>.size else { return nil }
        let head = record.loadUnaligned(as: ipvsd_captured.self)
        let bytes = record[MemoryLayout<ipvsd_captured>.size...]
        let (first, second) = (Int(head.before_captured), Int(head.after_captured))
        guard bytes.count >= first + second else { return nil }
        self.init(
            ingress: head.ingress, verdict: head.verdict,
            before: direction == .out
                ? nil : Frame(bytes: Array(bytes.prefix(first)), length: head.before_length, time: head.arrived),
            after: direction == .in || head.after_length == 0
                ? nil
                : Frame(
                    bytes: Array(bytes.dropFirst(first).prefix(second)), length: head.after_length, time: head.left),
            counters: PacketCounter.all.filter { head.counters >> UInt64($0.index) & 1 == 1 },
            server: head.server == 0 ? nil : .v4(IPv4Address(bigEndian: head.server)), lost: head.lost)
    }

    /// XDP_REDIRECT: it leaves by an interface of which the verdict says nothing.
    var isRedirected: Bool { verdict == xdpRedirect }

    /// Left to the kernel, which fragments it after encapsulation.
    var isFragmented: Bool { counters.contains { $0.index == Int(IPVSD_EVENT_FRAGMENTED.rawValue) } }

    /// What became of it, in the words of `status`: "forwarded to 10.0.0.11 (rescheduled)", "dropped-martian-source".
    public var fate: String {
        let end = counters.first { $0.group != .received && $0.group != .event }
        let events = counters.filter { $0.group == .event }.map(\.name).joined(separator: ", ")
        let word =
            switch end?.group {
            case .forwarded: "forwarded to \(server.map { "\($0)" } ?? "the director itself")"
            default: end?.name ?? "not counted"
            }
        return word + (events.isEmpty ? "" : " (\(events))")
    }
}

/// Of `enum xdp_action`.
private let xdpRedirect: UInt32 = 4
