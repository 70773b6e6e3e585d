public import Addresses
public import DataPlane
import LoadBalancing
internal import PacketPrograms
internal import XDPDataPlane

/// A packet that the director's program processed, with the program's verdict.
public struct CapturedPacket: Sendable {
    public struct Frame: Sendable, Equatable {
        /// The first bytes of the frame, or all of them.
        public var bytes: [UInt8]
        /// The length on the wire.
        public var length: UInt32
        /// The time in nanoseconds of CLOCK_MONOTONIC.
        public var time: UInt64

        public init(bytes: [UInt8], length: UInt32, time: UInt64) {
            self.bytes = bytes
            self.length = length
            self.time = time
        }
    }

    /// The index of the ingress interface.
    public var ingress: UInt32
    /// The verdict, a value of `enum xdp_action`.
    public var verdict: UInt32
    /// The packet as it came in; nil: not captured.
    public var before: Frame?
    /// The packet as it left; nil: the packet did not leave, or this frame is not captured.
    public var after: Frame?
    /// The counters that counted the packet.
    public var counters: [PacketCounter]
    /// The real server to which the packet was forwarded in a tunnel; nil: no server, or the director itself.
    public var server: IPAddress?
    /// The number of the ingress interface's packets that have found no room in the ring so far, modulo 2^32.
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

    /// Reads a record of the capture programs, and keeps the frames that `direction` selects. Returns nil if the record
    /// is shorter than its header says.
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

    /// Whether the verdict is XDP_REDIRECT, which does not name the egress interface.
    var isRedirected: Bool { verdict == xdpRedirect }

    /// Whether the kernel fragments the packet after encapsulation.
    var isFragmented: Bool { counters.contains { $0.index == Int(IPVSD_EVENT_FRAGMENTED.rawValue) } }

    /// The packet's end in the words of `status`, and its events in parentheses, such as "forwarded to 10.0.0.11
    /// (rescheduled)" or "dropped-martian-source".
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

/// XDP_REDIRECT of `enum xdp_action`.
private let xdpRedirect: UInt32 = 4
