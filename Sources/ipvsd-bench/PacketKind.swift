import Addresses
import LoadBalancing
import Packets

/// A kind of packets, for which the report has a row for each program.
struct PacketKind: Sendable {
    /// The XDP verdict that the kind's packets get.
    enum Outcome: UInt32, Sendable {
        /// The packet is unchanged and not counted.
        case passed = 2
        /// The packet is encapsulated, and leaves by XDP_TX or by redirect.
        case transmitted, redirected
    }

    var name: String
    var vip: IPv4Address
    var transport = TransportProtocol.tcp
    /// The number of flows, whose packets take turns; nil: each packet begins a new flow.
    var flows: Int?
    var outcome = Outcome.transmitted
    /// The number of services, each with its own port, to which the flows go in turn. It is a power of two.
    var ports = 1

    /// The VIP whose packets leave by XDP_TX.
    static let transmitting = IPv4Address(0xC633_640A)
    /// The VIP whose packets leave by redirect.
    static let redirecting = IPv4Address(0xC633_6414)
    /// An address that is not a VIP.
    static let nobody = IPv4Address(0xC633_641E)
    static let port: UInt16 = 80

    /// Returns the kinds whose flows fill at most half of a flow table with `flowCapacity` entries.
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

    /// The measured packet.
    var packet: [UInt8] { transport == .udp ? datagram : segment(flows == nil ? [.syn] : [.ack]) }

    /// The packets that each flow sends before the measured ones.
    var preparation: [[UInt8]] {
        if flows == nil || outcome == .passed { return [] }
        // There are two datagrams, since a flow of a single datagram gives way to others.
        return transport == .udp ? [datagram, datagram] : [segment([.syn]), segment([.ack])]
    }

    /// The offset of the IP header in a frame.
    static let packetOffset = Ethernet.length
    /// The offset of the TCP or UDP header in a frame.
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

    /// Returns a frame of 64 bytes. The measuring program later writes client, client port and Ethernet header into it.
    /// The checksums are 0, as no program reads them. `fill` gets the bytes behind the IP header.
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
