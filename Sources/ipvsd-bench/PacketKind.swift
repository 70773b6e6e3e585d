import Addresses
import LoadBalancing
import Packets

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

    /// Where headers of the frames begin.
    static let packetOffset = Ethernet.length
    static let transportOffset = packetOffset + IPv4.length

    private func segment(_ flags: TCP.Flags) -> [UInt8] {
        frame { header in
            header.write(1, at: TCP.sequence)
            header.write(1, at: TCP.acknowledgement)
            header.write(UInt8((TCP.length / 4) << 4), at: TCP.dataOffset)
            header.write(flags, at: TCP.flags)
            header.write(0xFFFF, at: TCP.window)
        }
    }

    private var datagram: [UInt8] {
        frame { header in header.write(UInt16(header.count), at: UDP.totalLength) }
    }

    /// 64 bytes. next_packet writes client, client port and Ethernet header; nobody reads the checksums. `fill` is handed the
    /// bytes behind the IP header.
    private func frame(_ fill: (inout ArraySlice<UInt8>) -> Void) -> [UInt8] {
        var frame = [UInt8](repeating: 0, count: 64)
        frame.replaceSubrange(Ethernet.addresses, with: [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1])
        frame.write(Ethernet.ipv4, at: Ethernet.type)
        var packet = frame[Self.packetOffset...]
        packet.write(0x45, at: IPv4.versionAndLength)
        packet.write(UInt16(packet.count), at: IPv4.totalLength)
        packet.write(IPv4.dontFragment, at: IPv4.fragment)
        packet.write(61, at: IPv4.timeToLive)
        packet.write(transport.number, at: IPv4.protocolNumber)
        packet.write(vip, at: IPv4.destination)
        packet[Self.transportOffset...].write(Self.port, at: Ports.destination)
        fill(&packet[Self.transportOffset...])
        frame[Self.packetOffset...] = packet
        return frame
    }
}
