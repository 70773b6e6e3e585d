import Addresses
import BPF
import DataPlane
import Glibc
import LoadBalancing
import Netlink
import PacketPrograms
import Testing

@testable import XDPDataPlane

/// The comparison of a packet's explanation with its end.
extension PacketDecision {
    /// Returns the difference in words, or nil if both agree. `moved` has the counters by their names.
    func difference(from verdict: XDPDataPlaneTests.Verdict?, _ frame: [UInt8], moved: [String: UInt64]) -> String? {
        let counted = self.verdict == .ignored ? [] : ["received"] + [reason].compactMap(\.self) + events
        let expected = Dictionary(counted.map { ($0, UInt64(1)) }, uniquingKeysWith: +)
        if moved != expected { return "counted \(moved); explained as \(expected)" }
        let verdicts: [XDPDataPlaneTests.Verdict] =
            switch self.verdict {
            case .ignored, .passed: [.pass]
            case .forwarded: way?.isLocal ?? false ? [.pass] : [.transmit, .redirect]
            case .answered: [.transmit, .redirect]
            case .dropped: [.drop]
            }
        guard let verdict, verdicts.contains(verdict) else {
            return "verdict \(verdict.map { "\($0)" } ?? "unknown"); explained as \(self.verdict)"
        }
        if reason == "answered-too-big" { return difference(fromAnswer: frame) }
        if self.verdict == .forwarded, let way, !way.isLocal { return difference(from: frame, way) }
        return nil
    }

    private func difference(fromAnswer frame: [UInt8]) -> String? {
        guard let l3 = PathModel.ipOffset(of: frame) else { return "no IP packet" }
        let mtu = Int(word16(frame, l3 + 26))
        return mtu == way?.largest ? nil : "an MTU of \(mtu); explained as \(way?.largest ?? 0)"
    }

    private func difference(from frame: [UInt8], _ way: Way) -> String? {
        guard let l3 = PathModel.ipOffset(of: frame) else { return "no IP packet" }
        let tags = way.isFragmented ? [] : way.tags
        var found = [
            "\(IPv4Address(word32(frame, l3 + 12))) -> \(IPv4Address(word32(frame, l3 + 16)))", "TTL \(frame[l3 + 8])",
            "protocol \(frame[l3 + 9])", "\(word16(frame, l3 + 2)) bytes", "DF \(frame[l3 + 6] & 0x40 != 0)",
            "id \(word16(frame, l3 + 4) != 0)", "from \(text(frame[6..<12]))",
            "tags of \(l3 - 14) bytes",
        ]
        var wanted = [
            "\(way.source) -> \(way.destination)", "TTL \(way.ttl)", "protocol 4", "\(way.length) bytes",
            "DF \(way.dontFragment)", "id \(!way.dontFragment)", "from \(way.sourceMAC)",
            "tags of \(4 * tags.count) bytes",
        ]
        for (index, tag) in tags.enumerated() {
            let type = word16(frame, 12 + 4 * index) == 0x88A8 ? "802.1ad" : "802.1q"
            found.append("\(type) \(word16(frame, 14 + 4 * index) & 0xFFF)")
            wanted.append(tag)
        }
        if !way.isFragmented {
            found.append("to \(text(frame[..<6]))")
            wanted.append("to \(way.nextHopMAC ?? "nobody")")
        }
        if server != way.destination {
            return "server \(server.map(\.description) ?? "none"), but the outer destination is \(way.destination)"
        }
        return found == wanted ? nil : "\(found); explained as \(wanted)"
    }

    private func text(_ mac: ArraySlice<UInt8>) -> String { MACAddress(Array(mac))?.description ?? "" }
}

extension ExplainedPacket {
    /// Reads the packet of a frame. The result is nil if the packet cannot be explained, or is not for the director.
    init?(_ frame: [UInt8]) {
        guard let l3 = PathModel.ipOffset(of: frame), Array(frame[..<6]) == PacketBuilder.director.bytes,
            frame[l3] == 0x45
        else { return nil }
        let packet = PathModel.Packet(frame, l3: l3)
        guard let transport = TransportProtocol.allCases.first(where: { $0.number == packet.protocolNumber }),
            packet.fragment & 0xBFFF == 0, packet.length >= Self.shortest(transport),
            l3 + packet.length <= frame.count
        else { return nil }
        var segment = Segment.syn
        if transport == .tcp {
            let flags = packet.flags.subtracting(.psh)
            switch flags.intersection([.syn, .fin, .rst, .ack]) {
            case .syn: segment = .syn
            case .ack: segment = .ack
            case [.fin, .ack]: segment = .fin
            case .rst: segment = .rst
            default: return nil
            }
            let length = packet.tcpHeaderLength
            guard length == 20 || (segment == .syn && (20...packet.room).contains(length)) else { return nil }
        }
        self.init(
            client: packet.client, clientPort: word16(frame, packet.l4), vip: packet.vip,
            port: word16(frame, packet.l4 + 2), transport: transport, segment: segment, length: packet.length,
            mayBeFragmented: !packet.mayNotBeFragmented)
    }
}

extension Lab {
    /// Explains the packet, and expects that no map changes. Then sends the packet, and compares its end with the
    /// explanation.
    @discardableResult
    func expectExplained(
        _ builder: PacketBuilder, sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> PacketDecision {
        let frame = builder.bytes
        let packet = try #require(ExplainedPacket(frame), "\(annotated(frame))", sourceLocation: sourceLocation)
        let contents = try contents()
        let now = try plane.tick()
        let decision = try plane.decision(on: packet)
        let changed = try self.contents().filter { contents[$0.key] != $0.value }.keys.sorted()
        #expect(changed.isEmpty, "asking changed \(changed)", sourceLocation: sourceLocation)
        let outcome = try run(frame)
        if let text = decision.difference(from: outcome.verdict, outcome.packet, moved: outcome.moved) {
            // A difference is accepted only if a tick began meanwhile, which may decide about the packet.
            #expect(try plane.tick() != now, "\(text)\nof\n\(annotated(frame))", sourceLocation: sourceLocation)
        }
        return decision
    }

    /// Returns the bytes of all maps, by map.
    func contents() throws -> [String: [UInt8]] {
        func bytes<Value>(_ array: MappedArray<Value>) -> [UInt8] {
            Array(UnsafeRawBufferPointer(start: array.pointer(0), count: array.count * array.stride))
        }
        func bytes<Value: BitwiseCopyable>(of values: [Value]) -> [UInt8] { values.withUnsafeBytes { Array($0) } }
        let maps = plane.maps
        var contents = [
            "settings": bytes(maps.settings), "listeners": bytes(maps.listenerCache.buckets),
            "schedules": bytes(maps.services), "slots": bytes(maps.slots), "servers": bytes(maps.servers),
            "loads": bytes(maps.connectionCounts), "paths": bytes(maps.nextHops), "flows": bytes(maps.flows),
            "overflows": bytes(maps.overflows), "pressure": bytes(maps.tableLoad), "carried": bytes(maps.carried),
            "counters": bytes(of: try maps.counters?.values(for: 0) ?? []),
        ]
        contents["statistics"] = try maps.usedServers.flatMap { bytes(of: try maps.statistics.values(for: UInt32($0))) }
        contents["services"] = try maps.listeners.entries().flatMap { bytes(of: [$0.key]) + bytes(of: [$0.value]) }
        contents["templates"] = try maps.templates.entries().flatMap { bytes(of: [$0.key]) + bytes(of: [$0.value]) }
        contents["confirmed"] = try maps.confirmedTemplates?.entries().flatMap {
            bytes(of: [$0.key]) + bytes(of: [$0.value])
        }
        contents["learnt_ports"] = try maps.learntPorts.entries().flatMap {
            bytes(of: [$0.key]) + bytes(of: [$0.value])
        }
        return contents
    }
}
