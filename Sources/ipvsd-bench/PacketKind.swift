import LoadBalancing

/// The packets of one row of the report.
struct PacketKind: Sendable {
    /// XDP verdicts.
    enum Outcome: UInt32, Sendable {
        /// Left as it came, and not counted.
        case passed = 2
        /// Encapsulated.
        case transmitted, redirected
    }

    var name: String
    var vip: IPv4Address
    var transport = TransportProtocol.tcp
    /// That take turns; nil: every packet begins a new one.
    var flows: Int?
    var outcome = Outcome.transmitted
    /// Services, one a port, that flows take in turn: a power of two.
    var ports = 1

    /// Real servers that packets leave to by XDP_TX, and by redirect.
    static let transmitting = IPv4Address(0xC633_640A)
    static let redirecting = IPv4Address(0xC633_6414)
    static let nobody = IPv4Address(0xC633_641E)
    static let port: UInt16 = 80

    /// What a flow table of that many entries can hold.
    static func all(flowCapacity: Int) -> [PacketKind] {
        func established(_ name: String, _ transport: TransportProtocol) -> [PacketKind] {
            [
                ("1 flow", 1), ("64 k flows", 65_536), ("500 k flows", 500_000), ("1 M flows", 1_000_000),
                ("10 M flows", 10_000_000),
            ]
            .filter { $1 <= flowCapacity / 2 && ($1 != 500_000 || flowCapacity < 2_000_000) }
            .map { PacketKind(name: "\(name), \($0)", vip: transmitting, transport: transport, flows: $1) }
        }
        return established("TCP", .tcp)
            + [PacketKind(name: "TCP, redirected, 1 flow", vip: redirecting, flows: 1, outcome: .redirected)]
            + established("UDP", .udp)
            + [
                PacketKind(name: "TCP, new flows", vip: transmitting),
                PacketKind(name: "not a VIP", vip: nobody, flows: 65_536, outcome: .passed),
            ]
    }

    /// What the row is about.
    var packet: [UInt8] { transport == .udp ? datagram : segment(flows == nil ? [.syn] : [.ack]) }

    /// What has to have gone through before, one packet a flow each.
    var preparation: [[UInt8]] {
        if flows == nil || outcome == .passed { return [] }
        // A flow of one datagram gives way to others.
        return transport == .udp ? [datagram, datagram] : [segment([.syn]), segment([.ack])]
    }

    private struct Flags: OptionSet {
        let rawValue: UInt8
        static let syn = Flags(rawValue: 0x02)
        static let ack = Flags(rawValue: 0x10)
    }

    private func segment(_ flags: Flags) -> [UInt8] {
        frame(Self.words(0, Self.port) + [0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags.rawValue] + Self.words(0xFFFF, 0, 0))
    }

    private var datagram: [UInt8] { frame(Self.words(0, Self.port, 30, 0)) }

    /// 64 bytes. next_packet writes client, client port and Ethernet header; nobody reads the checksums.
    private func frame(_ transportHeader: [UInt8]) -> [UInt8] {
        let ethernet: [UInt8] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]
        let destination = withUnsafeBytes(of: vip.bigEndian) { Array($0) }
        let ip = Self.words(0x4500, 50, 0, 0x4000, 61 << 8 | UInt16(transport.number), 0, 0, 0) + destination
        let frame = ethernet + ip + transportHeader
        return frame + [UInt8](repeating: 0, count: 64 - frame.count)
    }

    private static func words(_ words: UInt16...) -> [UInt8] {
        words.flatMap { [UInt8($0 >> 8), UInt8(truncatingIfNeeded: $0)] }
    }
}
