import Addresses
import DataPlane
import LoadBalancing
import TestSupport
import Testing
import XDPDataPlane

/// Packets that are cut short within each header, by the frame's end or by the IP header's total length.
@MainActor
@Suite(.serialized, .needsRoot)
struct TruncationTests {
    private static let shared = Swift.Result { try Lab(Standard.configuration) }
    private let lab: Lab

    init() throws { lab = try Self.shared.get() }

    nonisolated private static let transports: [Fixture] = {
        let quote = PacketBuilder.ethernet().ipv4(from: Standard.main, to: Standard.client)
            .tcp(from: 80, to: Standard.clientPort, [.ack])
        return [
            .forwarded("TCP", .syn(to: Standard.main), by: Standard.web),
            .forwarded(
                "TCP with options",
                .ethernet().fromClient(to: Standard.main) { $0.options = PacketBuilder.routerAlert }
                    .tcp([.syn]) { $0.options = PacketBuilder.synOptions }.payload(4), by: Standard.web),
            .forwarded(
                "TCP in two tags", .ethernet().vlan(2, tag: 0x88A8).vlan(3).fromClient(to: Standard.main).tcp([.syn]),
                by: Standard.web),
            .forwarded("UDP", .datagram(to: Standard.main), by: Standard.datagrams),
            .forwarded(
                "UDP in a tag with full options",
                .ethernet().vlan(9).fromClient(to: Standard.main) { $0.options = PacketBuilder.fullOptions }
                    .udp().payload(3), by: Standard.datagrams),
            .answered(
                "echo", .ethernet().fromClient(to: Standard.main).icmp(type: 8).payload(9),
                with: PacketBuilder.ethernet().wayBack.ipv4(from: Standard.main, to: Standard.client) { $0.ttl = 64 }
                    .icmp(type: 0).payload(9), "answered-echo"),
            .forwarded(
                "ICMP error", after: [.syn(to: Standard.main)],
                .ethernet().fromClient(to: Standard.main).icmp(type: 3, code: 4, word: 1400).payload(quote.ipPacket),
                by: Standard.web, and: "icmp-error-relayed"),
            .forwarded(
                "ICMP error in a tag", after: [.syn(to: Standard.main)],
                .ethernet().vlan(5).fromClient(to: Standard.main) { $0.options = PacketBuilder.routerAlert }
                    .icmp(type: 3, code: 4, word: 1400).payload(quote.ipPacket), by: Standard.web,
                and: "icmp-error-relayed"),
        ]
    }()

    @Test("a frame that ends before its IP packet is dropped", arguments: transports)
    func frameEndsEarly(_ fixture: Fixture) throws {
        try fixture.check(in: lab)
        let frame = fixture.packet.bytes
        let start = frame.count - fixture.packet.ipPacket.count
        for length in 14..<frame.count {
            let outcome = try lab.run(fixture.packet.truncated(to: length))
            if length < start + 20 {
                #expect(outcome.verdict == .pass, "\(length) bytes")
                #expect(outcome.moved == [:], "\(length) bytes")
                #expect(outcome.packet == Array(frame.prefix(length)), "\(length) bytes")
            } else {
                #expect(outcome.verdict == .drop, "\(length) bytes")
                #expect(outcome.moved == ["received": 1, "dropped-truncated": 1], "\(length) bytes")
            }
        }
        try lab.expectBalance()
    }

    /// The frame goes on behind the IP packet's end. Each drop has one reason, and a forwarded packet has its stated
    /// length.
    @Test("an IP packet that ends within its headers is dropped", arguments: transports)
    func packetEndsEarly(_ fixture: Fixture) throws {
        try fixture.check(in: lab)
        let frame = fixture.packet.bytes
        let packet = fixture.packet.ipPacket
        let start = frame.count - packet.count
        let header = Int(packet[0] & 15) * 4
        var ends: Set<String> = []
        for length in 0..<packet.count {
            var cut = frame
            cut.replaceSubrange((start + 2)..<(start + 4), with: big(UInt16(length)))
            let outcome = try lab.run(cut)
            #expect(
                outcome.moved.removing("icmp-error-relayed").values.reduce(0, +) == 2, "\(length): \(outcome.moved)")
            let drops = outcome.moved.keys.filter { $0.hasPrefix("dropped-") }
            ends.formUnion(outcome.moved.keys)
            if length < header {
                #expect(outcome.moved["dropped-bad-header"] == 1, "\(length): \(outcome.moved)")
            } else if length < header + 8 {
                #expect(outcome.moved["dropped-truncated"] == 1, "\(length): \(outcome.moved)")
            } else if drops.isEmpty, outcome.verdict == .redirect {
                let path = try #require(lab.paths[IPv4Address(word32(outcome.packet, 30))])
                let wanted = NaiveEncapsulator.encapsulate(
                    cut, path: path, id: NaiveEncapsulator.outerID(of: outcome.packet))
                #expect(outcome.packet == wanted, "\(length): \(annotated(outcome.packet))")
            }
            #expect((outcome.verdict == .drop) == !drops.isEmpty, "\(length)")
        }
        #expect(ends.isSuperset(of: ["dropped-bad-header", "dropped-truncated"]))
        try lab.expectBalance()
    }

    @Test("every value of the IP header's length has one end") func headerLengths() throws {
        for words in 0..<16 as Range<UInt8> {
            let packet = PacketBuilder.ethernet().fromClient(to: Standard.main) { $0.words = words }
                .tcp([.syn]) { $0.options = PacketBuilder.synOptions }.payload(40)
            let outcome = try lab.run(packet)
            #expect(outcome.moved["received"] == 1, "\(words): \(outcome.moved)")
            #expect(outcome.moved.count == 2, "\(words): \(outcome.moved)")
            if words < 5 { #expect(outcome.moved["dropped-bad-header"] == 1, "\(words): \(outcome.moved)") }
        }
        try lab.expectBalance()
    }

    /// The packets are for a VIP. Bytes of their headers are random, with a fixed seed.
    @Test("random headers end in one counter") func rubbish() throws {
        var random = SplitMix(seed: 1)
        let frames = Self.transports.map(\.packet.bytes)
        for round in 0..<4000 {
            var frame = frames[round % frames.count]
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                frame[Int.random(in: 12..<frame.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            let outcome = try lab.run(frame)
            let ends = PacketCounter.ends.intersection(outcome.moved.keys)
            if outcome.moved.isEmpty {
                #expect(outcome.verdict == .pass, "\(annotated(frame))")
                #expect(outcome.packet == frame, "\(annotated(frame))")
            } else {
                #expect(outcome.moved["received"] == 1, "\(annotated(frame))\(outcome.moved)")
                #expect(ends.count == 1, "\(annotated(frame))\(outcome.moved)")
                #expect(outcome.moved["dropped-internal"] == nil, "\(annotated(frame))")
                if outcome.verdict == .pass { #expect(outcome.packet == frame, "\(annotated(frame))") }
            }
        }
        try lab.expectBalance()
    }
}

extension [String: UInt64] {
    fileprivate func removing(_ key: String) -> [String: UInt64] { filter { $0.key != key } }
}
