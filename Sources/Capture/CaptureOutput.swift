/// A frame of a packet, with what its surroundings tell.
public struct ShownFrame {
    public var packet: CapturedPacket
    public var frame: CapturedPacket.Frame
    public var direction: PcapNG.Direction
    /// That it came in or leaves by: its index, 0 where it is not known, and its name.
    public var interface: UInt32
    public var name: String
    /// Nanoseconds since 1970.
    public var time: UInt64
    /// Of the packet, from 1 on.
    public var number: UInt64
    /// Packets of this interface that were lost since its last frame.
    public var lost: UInt64
    /// What else is to be said of this moment.
    public var remark: String?
}

/// Packets of an ingress interface.
public struct CaptureCounts: Sendable {
    public var shown: UInt64 = 0
    /// Those that the filter let through, and that found no room.
    public var lost: UInt64 = 0
}

/// Lines or a file.
public protocol CaptureOutput {
    /// What comes first: with the interfaces on which packets come in, by index and name.
    mutating func begin(_ interfaces: [(index: UInt32, name: String)], now: UInt64) -> [UInt8]
    mutating func show(_ frame: ShownFrame) -> [UInt8]
    /// What comes last: with the counts by index of the interface.
    mutating func end(_ counts: [UInt32: CaptureCounts], now: UInt64) -> [UInt8]
}

/// A pcapng file. Frames of both directions are of the interface by which they came or went; the packet's way in and its
/// way out have the same id, and the comment says what became of it.
public struct PcapNGOutput: CaptureOutput {
    private let snaplen: UInt32
    /// The numbers of their blocks, by index of the interface.
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
