import DataPlane
import LoadBalancing
import Testing
import XDPDataPlane

/// A packet with its expected end and the counters that it moves.
struct Fixture: Sendable, CustomTestStringConvertible {
    enum Output: Sendable {
        /// The packet goes to the director's own stack without a changed byte.
        case same
        /// The packet is dropped.
        case nothing
        case encapsulated(Path)
        case reply(PacketBuilder)
    }

    let description: String
    /// The packets before this one. Their ends are not checked.
    let earlier: [PacketBuilder]
    let packet: PacketBuilder
    let verdict: Verdict
    let output: Output
    /// The counters that move by one. `received` also moves, unless the set is empty.
    let counters: Set<String>

    private init(
        _ description: String, after earlier: [PacketBuilder], _ packet: PacketBuilder, _ verdict: Verdict,
        _ output: Output, _ counters: Set<String>
    ) {
        self.description = description
        self.earlier = earlier
        self.packet = packet
        self.verdict = verdict
        self.output = output
        self.counters = counters
    }

    var testDescription: String { description }

    static func ignored(_ description: String, _ packet: PacketBuilder) -> Fixture {
        Fixture(description, after: [], packet, .pass, .same, [])
    }

    static func passed(
        _ description: String, after earlier: [PacketBuilder] = [], _ packet: PacketBuilder, _ counter: String
    ) -> Fixture {
        Fixture(description, after: earlier, packet, .pass, .same, [counter])
    }

    static func dropped(
        _ description: String, after earlier: [PacketBuilder] = [], _ packet: PacketBuilder, _ counter: String,
        and event: String? = nil
    ) -> Fixture {
        Fixture(description, after: earlier, packet, .drop, .nothing, Set([counter] + (event.map { [$0] } ?? [])))
    }

    static func forwarded(
        _ description: String, after earlier: [PacketBuilder] = [], _ packet: PacketBuilder, by path: Path,
        and event: String? = nil
    ) -> Fixture {
        Fixture(
            description, after: earlier, packet, path.transmits ? .transmit : .redirect, .encapsulated(path),
            Set(["forwarded"] + (event.map { [$0] } ?? [])))
    }

    /// Makes a fixture of a packet that counts as forwarded and goes to the director's own stack unchanged.
    static func delivered(
        _ description: String, after earlier: [PacketBuilder] = [], _ packet: PacketBuilder, and event: String? = nil
    ) -> Fixture {
        Fixture(description, after: earlier, packet, .pass, .same, Set(["forwarded"] + (event.map { [$0] } ?? [])))
    }

    static func answered(
        _ description: String, after earlier: [PacketBuilder] = [], _ packet: PacketBuilder, with reply: PacketBuilder,
        _ counter: String
    ) -> Fixture {
        Fixture(description, after: earlier, packet, .transmit, .reply(reply), [counter])
    }

    /// Runs the packet in a data plane without flows, and expects its end. `replyVerdict` is the verdict of a reply.
    @MainActor
    func check(in lab: Lab, repliesBy replyVerdict: Verdict = .transmit) throws {
        lab.forgetFlows()
        for packet in earlier { _ = try lab.run(packet) }
        let frame = packet.bytes
        let outcome = try lab.run(frame)

        let isReply = if case .reply = output { true } else { false }
        #expect(outcome.verdict == (isReply ? replyVerdict : verdict), "\(description)\n\(annotated(outcome.packet))")
        let moved = Dictionary(uniqueKeysWithValues: counters.map { ($0, UInt64(1)) })
        #expect(outcome.moved == (counters.isEmpty ? [:] : moved.merging(["received": 1]) { $1 }), "\(description)")

        let wanted: [UInt8]
        switch output {
        case .nothing: return
        case .same: wanted = frame
        case .reply(let reply): wanted = reply.bytes
        case .encapsulated(let path):
            let id = NaiveEncapsulator.outerID(of: outcome.packet)
            let isDF = packet.ipPacket[6] & 0x40 != 0
            #expect((id == 0) == isDF, "\(description): outer id \(id)")
            wanted = NaiveEncapsulator.encapsulate(frame, path: path, id: id)
        }
        #expect(
            outcome.packet == wanted,
            "\(description)\ngot\n\(annotated(outcome.packet))wanted\n\(annotated(wanted))")
    }
}
