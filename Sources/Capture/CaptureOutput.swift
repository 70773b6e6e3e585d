internal import Glibc
internal import LoadBalancing

/// A frame of a packet, with the interface, time and number that the output shows.
public struct ShownFrame {
    public var packet: CapturedPacket
    public var frame: CapturedPacket.Frame
    public var direction: PcapNG.Direction
    /// The index of the interface by which the frame came in or leaves; 0: unknown.
    public var interface: UInt32
    /// The interface's name.
    public var name: String
    /// Nanoseconds since 1970.
    public var time: UInt64
    /// The number of the packet, from 1 on.
    public var number: UInt64
    /// The number of packets lost on the ingress interface since its previous packet; 0 in a packet's second frame.
    public var lost: UInt64
    /// A remark about the time before the frame, such as a gap in the capture.
    public var remark: String?
}

/// The counts of an ingress interface's packets.
public struct CaptureCounts: Sendable {
    public var shown: UInt64 = 0
    /// Packets that passed the filter and found no room in the buffer.
    public var lost: UInt64 = 0
}

/// A format of captures: lines of text, or pcapng.
public protocol CaptureOutput {
    /// Returns the beginning of the output, for these ingress interfaces. `now` is in nanoseconds since 1970.
    mutating func begin(_ interfaces: [(index: UInt32, name: String)], now: UInt64) -> [UInt8]
    /// Returns the output of a frame.
    mutating func show(_ frame: ShownFrame) -> [UInt8]
    /// Returns the end of the output. `counts` are by index of the ingress interface, and `now` is in nanoseconds since
    /// 1970.
    mutating func end(_ counts: [UInt32: CaptureCounts], now: UInt64) -> [UInt8]
}

/// A pcapng file. Each frame belongs to the interface by which it came in or left. The two frames of a packet have the
/// same packet id, and a comment with the packet's verdict.
public struct PcapNGOutput: CaptureOutput {
    private let snaplen: UInt32
    /// The numbers of the interfaces' blocks, by index of the interface.
    private var numbers: [UInt32: UInt32] = [:]
    private var start: UInt64 = 0

    public init(snaplen: Int) { self.snaplen = UInt32(snaplen) }

    public mutating func begin(_ interfaces: [(index: UInt32, name: String)], now: UInt64) -> [UInt8] {
        start = now
        return PcapNG.sectionHeader(application: "ipvsd capture")
            + interfaces.flatMap { number(of: $0.index, $0.name).block }
    }

    public mutating func show(_ frame: ShownFrame) -> [UInt8] {
        let (number, block) = number(of: frame.interface, frame.name)
        return block
            + PcapNG.packet(
                PcapNG.Packet(
                    interface: number, time: frame.time, bytes: frame.frame.bytes, length: frame.frame.length,
                    direction: frame.direction,
                    comment: [frame.packet.fate, frame.remark].compactMap(\.self).joined(separator: "; "),
                    id: frame.number, verdict: frame.packet.verdict, lost: frame.lost))
    }

    public func end(_ counts: [UInt32: CaptureCounts], now: UInt64) -> [UInt8] {
        numbers.sorted { $0.value < $1.value }.flatMap { index, number in
            let counts = counts[index] ?? CaptureCounts()
            return PcapNG.statistics(
                interface: number, start: start, end: now, delivered: counts.shown, lost: counts.lost)
        }
    }

    private mutating func number(of index: UInt32, _ name: String) -> (number: UInt32, block: [UInt8]) {
        if let number = numbers[index] { return (number, []) }
        let number = UInt32(numbers.count)
        numbers[index] = number
        return (
            number,
            PcapNG.interface(name: name, description: "XDP director, before and after encapsulation", snaplen: snaplen)
        )
    }
}

/// Text with a line for each frame.
public struct TextOutput: CaptureOutput {
    public init() {}

    public func begin(_ interfaces: [(index: UInt32, name: String)], now: UInt64) -> [UInt8] { [] }

    public func show(_ frame: ShownFrame) -> [UInt8] {
        var lines = ""
        if frame.lost > 0 { lines += "(\(frame.lost) packets before the next one were lost: the buffer was full)\n" }
        if let remark = frame.remark { lines += "(\(remark))\n" }
        let way = frame.direction == .inbound ? "in " : "out"
        lines += "\(Self.clock(frame.time)) \(way) \(frame.name.onOneLine) \(PacketText.text(frame.frame.bytes))"
        return Array("\(lines) length \(frame.frame.length): \(frame.packet.fate)\n".utf8)
    }

    public func end(_ counts: [UInt32: CaptureCounts], now: UInt64) -> [UInt8] { [] }

    /// Returns the local time of day as HH:MM:SS, with six decimals. The parameter is in nanoseconds since 1970.
    private static func clock(_ nanoseconds: UInt64) -> String {
        var seconds = time_t(nanoseconds / 1_000_000_000)
        var parts = tm()
        localtime_r(&seconds, &parts)
        let fraction = String(nanoseconds % 1_000_000_000 / 1000)
        let digits = [parts.tm_hour, parts.tm_min, parts.tm_sec].map { ($0 < 10 ? "0" : "") + String($0) }
        return digits.joined(separator: ":") + "." + String(repeating: "0", count: 6 - fraction.count) + fraction
    }
}
