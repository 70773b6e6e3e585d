/// Blocks of a pcapng file (draft-ietf-opsawg-pcapng), in little-endian byte order. Every interface is Ethernet
/// (LINKTYPE_ETHERNET, 1), with times in nanoseconds since 1970.
public enum PcapNG {
    /// Returns the Section Header Block (section 4.1), with which a file begins.
    public static func sectionHeader(application: String) -> [UInt8] {
        var body: [UInt8] = []
        body.append(0x1A2B_3C4D as UInt32)
        body.append(1 as UInt16)
        body.append(0 as UInt16)
        // The section's length is unknown.
        body.append(UInt64.max)
        body.append(option: 4, application)
        return block(0x0A0D_0D0A, body)
    }

    /// Returns an Interface Description Block (section 4.2). Interfaces are numbered from 0 on, in the order of their
    /// blocks. Readers such as libpcap need the same `snaplen` for all interfaces.
    public static func interface(name: String, description: String, snaplen: UInt32) -> [UInt8] {
        var body: [UInt8] = []
        body.append(1 as UInt16)
        body.append(0 as UInt16)
        body.append(snaplen)
        body.append(option: 2, name)
        body.append(option: 3, description)
        body.append(option: 9, [9])  // 10^-9 s
        return block(1, body)
    }

    public enum Direction: UInt32, Sendable {
        case inbound = 1
        case outbound = 2
    }

    /// The fields of a frame's block.
    public struct Packet {
        /// The number of the interface, by the order of the interfaces' blocks from 0 on.
        public var interface: UInt32
        /// Nanoseconds since 1970.
        public var time: UInt64
        /// The frame's bytes, cut off at the snaplen.
        public var bytes: [UInt8]
        /// The length on the wire.
        public var length: UInt32
        public var direction: Direction
        public var comment: String
        /// The packet's id, the same in both of its frames.
        public var id: UInt64
        /// The verdict, of `enum xdp_action`.
        public var verdict: UInt32
        /// The number of packets lost since the interface's last frame.
        public var lost: UInt64

        public init(
            interface: UInt32, time: UInt64, bytes: [UInt8], length: UInt32, direction: Direction, comment: String,
            id: UInt64, verdict: UInt32, lost: UInt64
        ) {
            self.interface = interface
            self.time = time
            self.bytes = bytes
            self.length = length
            self.direction = direction
            self.comment = comment
            self.id = id
            self.verdict = verdict
            self.lost = lost
        }
    }

    /// Returns an Enhanced Packet Block (section 4.3).
    public static func packet(_ packet: Packet) -> [UInt8] {
        var body: [UInt8] = []
        body.reserveCapacity(packet.bytes.count + 192)
        body.append(packet.interface)
        body.append(time: packet.time)
        body.append(UInt32(packet.bytes.count))
        body.append(packet.length)
        body.append(padded: packet.bytes)
        body.append(option: 1, packet.comment)
        body.append(option: 2, little(packet.direction.rawValue))
        if packet.lost > 0 { body.append(option: 4, little(packet.lost)) }
        body.append(option: 5, little(packet.id))
        body.append(option: 7, [2] + little(UInt64(packet.verdict)))  // 2: a verdict of Linux's XDP
        return block(6, body)
    }

    /// Returns an Interface Statistics Block (section 4.6) for the time from `start` to `end`, in nanoseconds since
    /// 1970. The sum of `delivered` and `lost` is the number of packets that passed the filter.
    public static func statistics(
        interface: UInt32, start: UInt64, end: UInt64, delivered: UInt64, lost: UInt64
    ) -> [UInt8] {
        var body: [UInt8] = []
        body.append(interface)
        body.append(time: end)
        var stamps: [UInt8] = []
        stamps.append(time: start)
        body.append(option: 2, stamps)
        stamps = []
        stamps.append(time: end)
        body.append(option: 3, stamps)
        body.append(option: 6, little(delivered + lost))
        body.append(option: 7, little(lost))
        body.append(option: 8, little(delivered))
        return block(5, body)
    }

    /// Returns a block of this type. The end mark of the options, which come last in `body`, is added.
    private static func block(_ type: UInt32, _ body: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        let length = UInt32(16 + body.count)
        bytes.reserveCapacity(Int(length))
        bytes.append(type)
        bytes.append(length)
        bytes += body
        bytes.append(0 as UInt32)  // opt_endofopt
        bytes.append(length)
        return bytes
    }

    private static func little(_ value: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
}

extension [UInt8] {
    fileprivate mutating func append(_ value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }

    /// Appends a time as two 32-bit words, the upper one first.
    fileprivate mutating func append(time: UInt64) {
        append(UInt32(truncatingIfNeeded: time >> 32))
        append(UInt32(truncatingIfNeeded: time))
    }

    fileprivate mutating func append(padded bytes: [UInt8]) {
        self += bytes
        self += repeatElement(0, count: (4 - bytes.count % 4) % 4)
    }

    fileprivate mutating func append(option code: UInt16, _ value: [UInt8]) {
        append(code)
        append(UInt16(value.count))
        append(padded: value)
    }

    fileprivate mutating func append(option code: UInt16, _ text: String) {
        append(option: code, Array(text.utf8.prefix(0xFFFF)))
    }
}
