internal import Addresses
internal import DataPlane
@preconcurrency internal import Dispatch
internal import Glibc
internal import HostState
internal import Packets
internal import SystemCalls

/// A router's message that a tunnelled packet was too big (ICMP type 3 code 4, RFC 792 and RFC 1191 section 4).
struct FragmentationNeeded: Sendable, Equatable {
    var router: IPAddress
    /// The source of the quoted outer packet.
    var source: IPAddress
    /// The destination of the quoted outer packet, which is a real server.
    var destination: IPAddress
    /// The total length of the quoted outer packet in bytes.
    var length: UInt32
    /// The destination of the inner packet, or nil where the quotation ends before it.
    var innerDestination: IPAddress?
    var content = Content.unknown
    /// The MTU of the router's next hop. 0 from routers that omit it.
    var mtu: UInt32

    /// The flow of the inner packet, as far as the quotation reaches.
    enum Content: Sendable, Equatable {
        /// The quotation ends before the ports.
        case unknown
        case flow(FlowEnds)
        /// A packet without ports.
        case other
    }
}

extension FragmentationNeeded {
    /// Parses a packet from a raw socket, whose ICMP checksum the kernel has not verified. Returns nil for other
    /// messages, for truncated ones, and where the quoted packet cannot be a director's. A director's packet has DF,
    /// exceeds the MTU, and contains an IPv4 packet of the right length.
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

/// The stream of routers' messages about tunnelled packets. The stream reads a raw socket, as a kernel drops such
/// messages if it has no ipip, or a tunnel device with other ends. It does not block a thread.
enum RouterErrors {
    /// The number of messages that are read before each pause, so that a flood of them does not keep the director busy.
    private static let burst = 64
    private static let pause = DispatchTimeInterval.milliseconds(50)

    static func events() throws(SystemError) -> AsyncStream<FragmentationNeeded> {
        let type = SOCK_RAW.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue
        let descriptor = socket(AF_INET, Int32(type), Int32(IPPROTO_ICMP))
        guard descriptor >= 0 else { throw SystemError("open a raw socket for ICMP", code: errno) }
        // The option is ICMP_FILTER (1) of SOL_RAW (255). A set bit n blocks type n.
        var filter = ~(UInt32(1) << 3)
        setsockopt(descriptor, 255, 1, &filter, socklen_t(MemoryLayout<UInt32>.size))
        let queue = DispatchQueue(label: "router errors")
        return AsyncStream(bufferingPolicy: .bufferingNewest(256)) { continuation in
            let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
            source.setEventHandler {
                var buffer = [UInt8](repeating: 0, count: 2048)
                for _ in 0..<burst {
                    let count = recv(descriptor, &buffer, buffer.count, 0)
                    guard count > 0 else { return }
                    if let error = FragmentationNeeded(packet: Array(buffer.prefix(count))) {
                        continuation.yield(error)
                    }
                }
                // Messages that are left make the source fire again after the pause.
                source.suspend()
                queue.asyncAfter(deadline: .now() + pause) { source.resume() }
            }
            source.setCancelHandler {
                close(descriptor)
                continuation.finish()
            }
            continuation.onTermination = { _ in source.cancel() }
            source.resume()
        }
    }
}
