internal import Addresses
internal import DataPlane
internal import Packets

/// A router's word that a tunnelled packet of ours is too big (ICMP type 3 code 4, RFC 792 and RFC 1191 section 4).
struct FragmentationNeeded: Sendable, Equatable {
    var router: IPAddress
    /// Of the outer packet that it quotes.
    var source: IPAddress
    var destination: IPAddress
    var length: UInt32
    /// Of the packet inside, where so much is quoted.
    var innerDestination: IPAddress?
    var content = Content.unknown
    /// Of the next hop; 0 from routers that do not say it.
    var mtu: UInt32

    /// The flow of the packet inside, as far as it is quoted.
    enum Content: Sendable, Equatable {
        /// Less than the ports is quoted.
        case unknown
        case flow(FlowEnds)
        /// A packet without ports.
        case other
    }
}

extension FragmentationNeeded {
    /// `packet`: as a raw socket delivers it, before the kernel has looked at its checksum. Nil where it is something
    /// else, not whole, or about a packet that no director sent: without DF, small enough, or, as far as it is quoted,
    /// with no IPv4 packet of the right length in it.
    init?(packet: [UInt8]) {
        guard let payload = IPv4.payload(of: packet), packet[IPv4.protocolNumber] == IPProtocol.icmp,
            let router = packet[IPv4.source], let end = packet[IPv4.totalLength].map({ Int($0) }),
            end <= packet.count, end >= payload.startIndex + ICMP.length + IPv4.length
        else { return nil }
        let message = packet[payload.startIndex..<end]
        guard message[ICMP.type] == ICMP.unreachable, message[ICMP.code] == ICMP.fragmentationNeeded,
            InternetChecksum.of(message) == 0, let mtu = message[ICMP.nextHopMTU]
        else { return nil }
        let quoted = message.dropFirst(ICMP.length)
        guard let inner = IPv4.payload(of: quoted), quoted[IPv4.protocolNumber] == IPProtocol.ipip,
            let source = quoted[IPv4.source], let destination = quoted[IPv4.destination],
            let fragment = quoted[IPv4.fragment], fragment & IPv4.dontFragment != 0,
            let length = quoted[IPv4.totalLength], mtu < length
        else { return nil }
        if let first = inner.first, IPv4.headerLength(first) == nil { return nil }
        let around = quoted.count - inner.count
        if let innerLength = inner[IPv4.totalLength], Int(innerLength) + around != length { return nil }
        self.router = .v4(router)
        self.source = .v4(source)
        self.destination = .v4(destination)
        self.length = UInt32(length)
        self.mtu = UInt32(mtu)
        innerDestination = inner[IPv4.destination].map(IPAddress.v4)
        content = Self.content(of: inner)
    }

    private static func content(of inner: ArraySlice<UInt8>) -> Content {
        guard let segment = IPv4.payload(of: inner), segment.count >= UDP.length,
            let client = inner[IPv4.source], let clientPort = segment[Ports.source],
            let vip = inner[IPv4.destination], let port = segment[Ports.destination],
            let fragment = inner[IPv4.fragment]
        else { return .unknown }
        let transport = TransportProtocol.allCases.first { $0.number == inner[IPv4.protocolNumber] }
        guard let transport, fragment & IPv4.fragmentOffset == 0 else { return .other }
        return .flow(
            FlowEnds(transport: transport, client: .v4(client), clientPort: clientPort, vip: .v4(vip), port: port))
    }
}
