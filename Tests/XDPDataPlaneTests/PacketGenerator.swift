import Addresses
import LoadBalancing
import Netlink
import TestSupport

/// A generator of valid, odd and broken packets, of repeated flows and of new clients.
struct PacketGenerator {
    /// The datagram of a first fragment, or of a packet that is taken for a first fragment.
    private struct Fragmented {
        var source: IPv4Address
        var destination: IPv4Address
        var id: UInt16
        var transport: TransportProtocol
    }

    var random: SplitMix
    var pool: [FlowKey] = []
    private var fragmented: [Fragmented] = []

    init(seed: UInt64) { random = SplitMix(seed: seed) }

    private mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }

    private mutating func pick<Value>(_ values: [Value]) -> Value {
        values[Int.random(in: values.indices, using: &random)]
    }

    mutating func client() -> IPv4Address {
        // The clients are of few networks, so that a persistent service sees neighbours.
        IPv4Address(0xC000_0200 | UInt32.random(in: 0..<4, using: &random) << 16 | .random(in: 1...60, using: &random))
    }

    mutating func flow() -> FlowKey {
        FlowKey(
            client: client(), clientPort: .random(in: 1024...65535, using: &random), vip: pick(DifferentialPlan.vips),
            port: pick([80, 80, 80, 443, 53, 8080, 0]), transport: pick([.tcp, .tcp, .tcp, .udp]))
    }

    mutating func next() -> [UInt8] {
        let frame =
            switch Int.random(in: 0..<100, using: &random) {
            case 0..<3: echo()
            case 3..<9: error()
            case 9..<12: laterFragment()
            case 12..<14: stranger()
            case 14..<15: other()
            case 15..<16: noise()
            default: transport(pick(pool))
            }
        return chance(4) ? broken(frame) : frame
    }

    // MARK: Layers

    private mutating func ethernet() -> PacketBuilder {
        var packet = PacketBuilder.ethernet(to: chance(1) ? mac(9) : PacketBuilder.director)
        if chance(8) {
            for _ in 0..<pick([1, 1, 2, 2, 3]) {
                packet = packet.vlan(pick([1, 100, 4094]), tag: pick([0x8100, 0x88A8]))
            }
        }
        return packet
    }

    private mutating func odd(_ ip: inout PacketBuilder.IPv4Header) {
        ip.id = .random(in: .min ... .max, using: &random)
        if chance(25) { ip.tos = .random(in: .min ... .max, using: &random) }
        if chance(10) { ip.ttl = .random(in: 1...255, using: &random) }
        if chance(20) { ip.fragment = 0 }
        if chance(1) {
            ip.source = pick([
                address("0.0.0.0"), address("127.0.0.1"), address("224.0.0.5"), address("255.255.255.255"),
                address("240.0.0.1"), ip.destination, pick(DifferentialPlan.vips),
            ])
        }
        if chance(4) { ip.options = [UInt8](repeating: 1, count: 4 * pick([1, 2, 10])) }
    }

    private mutating func size() -> Int {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<50: 0
        case 50..<93: .random(in: 1...64, using: &random)
        case 93..<96: .random(in: 930...990, using: &random)
        case 96..<99: .random(in: 1400...1480, using: &random)
        default: .random(in: 1460...2000, using: &random)
        }
    }

    private mutating func flags() -> PacketBuilder.TCPFlags {
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<33: [.syn]
        case 33..<70: [.ack]
        case 70..<80: [.ack, .psh]
        case 80..<88: [.fin, .ack]
        case 88..<93: [.rst]
        case 93..<95: [.syn, .ack]
        default: PacketBuilder.TCPFlags(rawValue: .random(in: .min ... .max, using: &random))
        }
    }

    // MARK: Packets

    private mutating func transport(_ flow: FlowKey) -> [UInt8] {
        let isFirstFragment = chance(3)
        var generator = self
        var id: UInt16 = 0
        let ip = generator.ethernet().ipv4(from: flow.client, to: flow.vip) {
            generator.odd(&$0)
            if isFirstFragment { $0.fragment |= PacketBuilder.moreFragments }
            id = $0.id
        }
        self = generator
        if isFirstFragment {
            fragmented.append(
                Fragmented(source: flow.client, destination: flow.vip, id: id, transport: flow.transport))
            if fragmented.count > 32 { fragmented.removeFirst() }
        }
        let size = size()
        let packet: PacketBuilder
        switch flow.transport {
        case .tcp:
            let (flags, numbers, isOdd) = (flags(), random.next(), chance(3))
            packet = ip.tcp(from: flow.clientPort, to: flow.port, flags) {
                $0.sequence = UInt32(truncatingIfNeeded: numbers)
                $0.acknowledgement = UInt32(truncatingIfNeeded: numbers >> 32)
                if numbers % 8 == 0 { $0.options = [2, 4, 5, 180] }
                if isOdd { $0.words = UInt8(numbers >> 8 & 15) }
            }.payload(size)
        case .udp: packet = ip.udp(from: flow.clientPort, to: flow.port).payload(size)
        }
        return (chance(10) ? packet.padded() : packet).bytes
    }

    private mutating func laterFragment() -> [UInt8] {
        var datagram = Fragmented(
            source: client(), destination: pick(DifferentialPlan.vips), id: UInt16(truncatingIfNeeded: random.next()),
            transport: .udp)
        if !fragmented.isEmpty, chance(80) { datagram = pick(fragmented) }
        if chance(5) { datagram.id &+= 1 }
        let flags: UInt16 = pick([0, 0, 0, PacketBuilder.moreFragments, PacketBuilder.dontFragment])
        let offset = UInt16.random(in: 1...0x1FFF, using: &random)
        let packet = ethernet().ipv4(from: datagram.source, to: datagram.destination) {
            $0.id = datagram.id
            $0.fragment = flags | offset
            $0.protocolNumber = datagram.transport.number
        }
        return packet.payload(max(1, size())).bytes
    }

    private mutating func echo() -> [UInt8] {
        var generator = self
        let packet = generator.ethernet().ipv4(from: client(), to: pick(DifferentialPlan.vips)) {
            generator.odd(&$0)
            if generator.chance(5) { $0.fragment |= PacketBuilder.moreFragments }
        }
        self = generator
        let type: UInt8 = chance(85) ? 8 : .random(in: .min ... .max, using: &random)
        return packet.icmp(type: type, word: chance(10) ? 0 : UInt32(truncatingIfNeeded: random.next()))
            .payload(chance(10) ? 0 : size()).bytes
    }

    /// Returns an ICMP error about a flow's reply to the client.
    private mutating func error() -> [UInt8] {
        let flow = pick(pool)
        var generator = self
        let source = generator.chance(90) ? flow.vip : generator.client()
        let reply = PacketBuilder.ethernet().ipv4(from: source, to: flow.client) {
            generator.odd(&$0)
            if generator.chance(3) { $0.fragment = 7 }
            if generator.chance(3) { $0.protocolNumber = 47 }
        }
        let quoted =
            switch flow.transport {
            case .tcp: reply.tcp(from: flow.port, to: flow.clientPort, [.ack]).payload(generator.size())
            case .udp: reply.udp(from: flow.port, to: flow.clientPort).payload(generator.size())
            }
        let length = generator.chance(10) ? Int.random(in: 1...36, using: &generator.random) : 28
        let packet = generator.ethernet().ipv4(from: generator.client(), to: flow.vip) { generator.odd(&$0) }
        self = generator
        let bytes = chance(20) ? quoted.ipPacket : Array(quoted.ipPacket.prefix(length))
        return packet.icmp(type: pick([3, 3, 11, 12]), code: pick([0, 1, 3, 4]), word: 1400).payload(bytes).padded()
            .bytes
    }

    /// Returns a packet whose destination is most likely not a VIP, or a frame of another protocol than IPv4.
    private mutating func stranger() -> [UInt8] {
        if chance(20) { return ethernet().etherType(pick([0x0806, 0x86DD])).payload(46).bytes }
        let destination = IPv4Address(UInt32(truncatingIfNeeded: random.next()))
        return ethernet().ipv4(from: client(), to: destination).tcp(from: 40000, to: 80, [.syn]).bytes
    }

    private mutating func other() -> [UInt8] {
        var generator = self
        let packet = generator.ethernet().ipv4(from: client(), to: pick(DifferentialPlan.vips)) {
            generator.odd(&$0)
            $0.protocolNumber = generator.pick([0, 2, 4, 41, 47, 50, 132])
        }
        self = generator
        return packet.payload(size()).bytes
    }

    private mutating func noise() -> [UInt8] {
        let head = ethernet().bytes
        var rest = (0..<Int.random(in: 0...80, using: &random)).map { _ in
            UInt8(truncatingIfNeeded: random.next())
        }
        if rest.count >= 20 {
            if chance(80) { rest[0] = 0x45 }
            rest.replaceSubrange(16..<20, with: big(pick(DifferentialPlan.vips).value))
            if chance(50) { rest[9] = pick([1, 6, 17]) }
            if chance(50) { rest.replaceSubrange(2..<4, with: big(UInt16(rest.count))) }
        }
        return head + rest
    }

    /// Returns the frame cut short, or with a few changed bytes.
    private mutating func broken(_ frame: [UInt8]) -> [UInt8] {
        var frame = frame
        if chance(40) { frame = Array(frame.prefix(Int.random(in: 14...max(14, frame.count), using: &random))) }
        for _ in 0..<Int.random(in: 0...3, using: &random) {
            let index = Int.random(in: 0..<min(64, frame.count), using: &random)
            frame[index] =
                chance(50) ? UInt8(truncatingIfNeeded: random.next()) : frame[index] ^ 1 << pick([0, 1, 6, 7])
        }
        return frame
    }
}
