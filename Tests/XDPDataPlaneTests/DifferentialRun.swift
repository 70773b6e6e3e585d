import Addresses
import BPF
import DataPlane
import LoadBalancing
import PacketPrograms
import TestSupport

@testable import XDPDataPlane

/// Packets and changes of one configuration, through the model and through the packet program.
@MainActor
final class DifferentialRun {
    struct Difference: Error, CustomStringConvertible {
        var description: String
    }

    static let packetsOfAConfiguration = 250

    private let lab: Lab
    private var model: PathModel
    private var plan: DifferentialPlan
    private var generator: PacketGenerator
    private var random: SplitMix
    /// The random numbers for explanations, which are separate so that explanations do not change a run.
    private var asking: SplitMix
    private(set) var questions = 0
    private var counters: [UInt64]
    /// The sum of each counter over the whole run.
    private(set) var totals = [UInt64](repeating: 0, count: Int(IPVSD_COUNTERS.rawValue))

    init(seed: UInt64, round: Int) throws {
        var random = SplitMix(seed: seed &+ UInt64(round) << 32)
        asking = SplitMix(seed: seed ^ UInt64(round) << 32)
        plan = DifferentialPlan(seed: random.next(), round: round)
        generator = PacketGenerator(seed: random.next())
        model = PathModel(seed: random.next(), bucketCount: plan.traits.buckets)
        self.random = random
        let traits = plan.traits
        var capacity = Capacity.roomy
        capacity.flowBuckets = traits.buckets
        lab = try withPinDirectory {
            try Lab(
                directory: $0, capacity: capacity, answersByRedirect: traits.answersByRedirect,
                repliesPerSecond: traits.mayAnswer ? .max : 0,
                traits: PacketTraits(outerSources: traits.outerSources))
        }
        lab.plane.maps.settings.pointer(0).storeBytes(of: model.flows.seed, toByteOffset: 8, as: UInt64.self)
        lab.plane.setOwnMACs(traits.knowsItsMACs ? [PacketBuilder.director] : [])
        model.settings.answersByRedirect = traits.answersByRedirect
        model.settings.mayAnswer = traits.mayAnswer
        model.settings.ownMACs = traits.knowsItsMACs ? [PacketBuilder.director] : nil
        model.settings.outerSources = traits.outerSources
        if let peer = plan.fragmentingPeer {
            try lab.plane.setFragmenting(interface: 1, peer: peer)
            model.settings.fragmentingPeer = peer
        }
        counters = []
        counters = try readCounters()
        try configure()
    }

    func run(packets: Int) throws {
        for number in 0..<packets {
            if number % Self.packetsOfAConfiguration == Self.packetsOfAConfiguration - 1 {
                try compareAll()
                try age()
                plan.change()
                try configure()
                try compareAll()
            }
            let frame = generator.next()
            do {
                try age(flowOf: frame)
                try send(frame)
            } catch let difference as Difference {
                throw Difference(
                    description: "packet \(number): \(difference.description)\nthe packet\n\(annotated(frame))")
            }
        }
        try compareAll()
    }

    // MARK: Configuration

    private func configure() throws {
        let plane = lab.plane
        // Longer time-outs must not revive expired flows.
        try sweep()
        let before = plane.services
        try plane.apply(plan.services)
        for (address, row) in before where plane.services[address] == nil { forgetService(row) }
        for number in DifferentialPlan.numbers { try plane.setPath(plan.paths[number], to: Standard.server(number)) }
        plane.setIngressMTU(UInt32(plan.ingressMTU))
        plane.setTimeouts(plan.timeouts)
        plane.setHalfOpenLimit(UInt32(plan.halfOpenLimit))
        plane.setSilentAfter(plan.silentAfter)

        model.settings.ingressMTU = plan.ingressMTU
        model.settings.halfOpenLimit = plan.halfOpenLimit
        model.settings.silentAfter = plan.silentAfter
        for (state, seconds) in plan.timeouts.ofStates {
            model.flows.timeouts[Int(state.rawValue)] = UInt16(XDPDataPlane.ticks(seconds: seconds))
        }
        model.vips = Set(plan.services.flatMap(\.listeners).map(\.ipv4))
        model.listeners = [:]
        for service in plan.services {
            guard let row = plane.services[service.address] else { continue }
            var ids: [UInt8: UInt32] = [:]
            for server in service.servers {
                ids[UInt8(truncatingIfNeeded: server.address.ipv4.value)] =
                    plane.serverID(service: service.address, server: server.address.ipv4)
            }
            model.configure(service, row: row, isNew: before[service.address] == nil, ids: ids)
            for listener in service.listeners {
                for (key, transport) in listener.keys {
                    guard let value = try plane.maps.listeners.value(for: key) else { continue }
                    let place = PathModel.ListenerKey(
                        vip: listener.ipv4, port: listener.port ?? 0, transport: transport)
                    model.listeners[place] = PathModel.Listener(
                        service: row, flowID: value.destination, isAnyPort: listener.isAnyPort,
                        isOnePacket: service.isOnePacket && transport == .udp,
                        finishes: service.onServerRemoval == .finish && transport == .udp)
                }
            }
        }
        try sweep()
        for number in DifferentialPlan.numbers {
            model.paths[Standard.server(number)] = plane.path(to: Standard.server(number))
        }
        try changePool()
    }

    private func forgetService(_ row: Int) {
        guard !lab.plane.services.values.contains(row) else { return }
        for (id, server) in model.servers where server.service == row { model.remove(id) }
        model.learntPorts[row] = nil
    }

    private func sweep() throws {
        // The sweep is repeated if a tick began meanwhile.
        for _ in 0..<100 {
            let before = try lab.plane.tick()
            try lab.plane.sweep()
            // The next sweep may be late, and packets must not sweep until then. A value of 0 prevents that.
            lab.plane.maps.tableLoad[0].last_daemon_gc = 0
            guard try lab.plane.tick() == before else { continue }
            model.sweep(now: before)
            let services = lab.plane.maps.services
            model.sweepTemplates { services[$0].persistence }
            let present = Set(lab.plane.serverIDs.all.map(\.id))
            for id in model.servers.keys where !present.contains(Int(id)) { model.forget(id) }
            // A repeated sweep may have freed a real server's row first, and then the templates with that server.
            for (key, template) in model.confirmedTemplates where model.servers[template.server] == nil {
                if try lab.plane.maps.confirmedTemplates?.value(for: row(of: key)) == nil {
                    model.confirmedTemplates[key] = nil
                }
            }
            return
        }
        throw Difference(description: "no sweep of 100 fits in a tick")
    }

    /// Drops some flows of the pool to make room for new ones.
    private func changePool() throws {
        let kept = generator.pool.filter { _ in Int.random(in: 0..<10, using: &random) > 0 }
        generator.pool = kept
        for _ in 0..<100_000 where generator.pool.count < plan.traits.flows {
            let flow = generator.flow()
            if model.flow(of: flow.packet().bytes) != nil || Int.random(in: 0..<20, using: &random) == 0 {
                generator.pool.append(flow)
            }
        }
    }

    // MARK: Time

    private func store(stamp: UInt16, at place: FlowTableModel.Place) {
        model.flows[place]?.stamp = stamp
        let way = lab.plane.maps.flows.pointer(place.bucket).assumingMemoryBound(to: ipvsd_flow.self) + place.way
        way.pointee.value = way.pointee.value & (1 << 48 - 1) | UInt64(stamp) << 48
    }

    /// Ages some flows, and the last completed handshakes of some servers. Expired flows stay expired. A revived flow
    /// would have two entries, and the program may find either of them.
    private func age() throws {
        let now = try lab.now
        for place in model.flows.places.sorted(by: { ($0.bucket, $0.way) < ($1.bucket, $1.way) })
        where Int.random(in: 0..<3, using: &random) == 0 {
            guard let entry = model.flows[place], !model.flows.isExpired(entry, now: now) else { continue }
            store(stamp: now &- .random(in: 0...model.flows.timeout(entry.state) &+ 5, using: &random), at: place)
        }
        for id in model.servers.keys.sorted() where Bool.random(using: &random) {
            let completed = UInt32(now &- .random(in: 0...4, using: &random))
            model.servers[id]?.completed = completed
            lab.plane.maps.connectionCounts[Int(id)].completed = completed
        }
    }

    /// Sometimes gives the flow and its client's templates an age near a limit: one tick less, the limit, or one more.
    private func age(flowOf frame: [UInt8]) throws {
        guard Int.random(in: 0..<12, using: &random) == 0, let flow = model.flow(of: frame) else { return }
        let now = try lab.plane.tick()
        let edge = UInt16.random(in: 0...2, using: &random)
        for place in model.flows.places(for: flow) {
            guard let entry = model.flows[place], !model.flows.isExpired(entry, now: UInt16(truncatingIfNeeded: now))
            else { continue }
            let timeout = model.flows.timeout(entry.state)
            let age = [timeout, timeout, timeout / 32, 2].randomElement(using: &random) ?? timeout
            store(stamp: UInt16(truncatingIfNeeded: now) &- (age &+ edge &- 1), at: place)
        }
        for (templates, map) in templateMaps {
            for (key, template) in model[keyPath: templates] where key.client == flow.client {
                guard let persistence = model.services[key.service]?.desired.persistence else { continue }
                let stamp = now &- (XDPDataPlane.ticks(seconds: persistence.timeout) &+ UInt32(edge) &- 1)
                model[keyPath: templates][key]?.stamp = stamp
                try map.update(ipvsd_template(server: template.server, stamp: stamp), for: row(of: key))
            }
        }
    }

    // MARK: Packets

    private func readCounters() throws -> [UInt64] {
        Array(try lab.plane.maps.counterSums().prefix(Int(IPVSD_COUNTERS.rawValue)))
    }

    /// Explains some packets before they are sent, as an explanation takes longer than a packet. Returns nil for
    /// others.
    private func explain(_ frame: [UInt8]) throws -> (decision: PacketDecision, now: UInt32)? {
        guard Int.random(in: 0..<16, using: &asking) == 0, let packet = ExplainedPacket(frame) else { return nil }
        questions += 1
        let now = try lab.plane.tick()
        return (try lab.plane.decision(on: packet), now)
    }

    private func send(_ frame: [UInt8]) throws {
        let explained = try explain(frame)
        let before = try lab.plane.tick()
        let run = try lab.plane.program().testRun(packet: frame)
        let after = try lab.plane.tick()
        let read = try readCounters()
        let moved = zip(read, counters).map { $0 &- $1 }
        counters = read
        for index in moved.indices { totals[index] += moved[index] }
        let verdict = Verdict(rawValue: run.verdict)

        let isForVIP = PathModel.ipOffset(of: frame).map {
            model.vips.contains(IPv4Address(word32(frame, $0 + 16)))
        }
        let broken = PathInvariant.broken(
            by: verdict, run.packet, of: frame, isForVIP: isForVIP ?? false, moved: moved)
        if let first = broken.first {
            throw Difference(
                description: "invariant broken: \(broken.map(\.rawValue).joined(separator: "; ")) (\(first))\n"
                    + "out came, by \(name(verdict))\n\(annotated(run.packet))counted \(names(moved))")
        }
        guard before != after else {
            let counted = PacketCounter.all.filter { moved[$0.index] != 0 }.map { ($0.name, moved[$0.index]) }
            if let explained, explained.now == before,
                let text = explained.decision.difference(
                    from: verdict, run.packet, moved: Dictionary(uniqueKeysWithValues: counted))
            {
                throw Difference(description: "not as explained: \(text); \(explained.decision.choices)")
            }
            let expected = model.handle(frame, now: before)
            if let text = difference(expected, verdict, run.packet, moved) ?? compareTouched() {
                throw Difference(description: text)
            }
            return
        }
        // A tick began before the packet program read the time, or after that. The packet must agree with the model at
        // either tick.
        var other = model
        let expected = model.handle(frame, now: before)
        if difference(expected, verdict, run.packet, moved) != nil || compareTouched(tolerance: 1) != nil {
            let late = other.handle(frame, now: after)
            model = other
            if let text = difference(late, verdict, run.packet, moved) ?? compareTouched(tolerance: 1) {
                throw Difference(description: "at either tick: \(text)")
            }
        }
        try takeOverStamps()
    }

    private func name(_ verdict: Verdict?) -> String { verdict.map { "\($0)" } ?? "an unknown verdict" }

    private func names(_ moved: [UInt64]) -> String {
        let counters = PacketCounter.all.filter { moved[$0.index] != 0 }.map { "\($0.name) \(moved[$0.index])" }
        return counters.isEmpty ? "nothing" : counters.joined(separator: ", ")
    }

    private func difference(
        _ expected: PathModel.Outcome, _ verdict: Verdict?, _ packet: [UInt8], _ moved: [UInt64]
    ) -> String? {
        if verdict != expected.verdict {
            return "verdict \(name(verdict)), counted \(names(moved)); by the model \(expected.verdict), "
                + names(expected.moved)
        }
        if moved != expected.moved { return "counted \(names(moved)); by the model \(names(expected.moved))" }
        guard var frame = expected.frame else { return nil }
        if expected.isIdentified, packet.count == frame.count, let start = PathModel.ipOffset(of: frame) {
            let id = NaiveEncapsulator.outerID(of: packet)
            if id == 0 { return "the outer packet's id is 0" }
            frame.replaceSubrange(start + 4..<start + 6, with: big(id))
            frame.replaceSubrange(start + 10..<start + 12, with: [0, 0])
            let checksum = internetChecksum(Array(frame[start..<start + 20]))
            frame.replaceSubrange(start + 10..<start + 12, with: big(checksum))
        }
        return packet == frame
            ? nil : "bytes: out came\n\(annotated(packet))by the model\n\(annotated(frame))counted \(names(moved))"
    }

    // MARK: What is remembered

    private func compareTouched(tolerance: UInt16 = 0) -> String? {
        model.touched.lazy.compactMap { self.compareBucket($0, tolerance: tolerance) }.first
    }

    private func compareBucket(_ bucket: Int, tolerance: UInt16 = 0) -> String? {
        let ways = lab.plane.maps.flows.pointer(bucket).assumingMemoryBound(to: ipvsd_flow.self)
        for way in 0..<8 {
            let found = ways[way]
            guard let entry = model.flows[FlowTableModel.Place(bucket: bucket, way: way)] else {
                if found.value != 0 {
                    return "flow table, bucket \(bucket) way \(way): \(text(found)); by the model free"
                }
                continue
            }
            let identity = entry.identity
            let rest =
                UInt64(identity.port.bigEndian) << 32 | UInt64(entry.server) << 16 | entry.state.rawValue << 12
                | model.flows.hash(identity) >> 52
            let lag = UInt16(truncatingIfNeeded: found.value >> 48) &- entry.stamp
            guard found.key == identity.key, found.value & (1 << 48 - 1) == rest,
                lag <= tolerance || 0 &- lag <= tolerance
            else { return "flow table, bucket \(bucket) way \(way): \(text(found)); by the model \(entry)" }
        }
        return nil
    }

    private func text(_ flow: ipvsd_flow) -> String {
        guard flow.value != 0 else { return "free" }
        let state = PathModel.State(rawValue: flow.value >> 12 & 15)
        let client = IPv4Address(bigEndian: UInt32(flow.key >> 32))
        return
            "\(client):\(UInt16(bigEndian: UInt16(truncatingIfNeeded: flow.key >> 16))) of listener \(flow.key & 0xFFFF) "
            + "to server \(flow.value >> 16 & 0xFFFF), \(state.map { "\($0)" } ?? "no state"), stamp \(flow.value >> 48)"
    }

    private func takeOverStamps() throws {
        for place in model.flows.places {
            let ways = lab.plane.maps.flows.pointer(place.bucket).assumingMemoryBound(to: ipvsd_flow.self)
            guard let stamp = model.flows[place]?.stamp else { continue }
            let found = UInt16(truncatingIfNeeded: ways[place.way].value >> 48)
            if found != stamp, found &- stamp == 1 || stamp &- found == 1 { model.flows[place]?.stamp = found }
        }
        for id in model.servers.keys {
            model.servers[id]?.completed = lab.plane.maps.connectionCounts[Int(id)].completed
        }
        if model.flooded != nil { model.flooded = lab.plane.maps.tableLoad[0].last }
        for (templates, map) in templateMaps {
            for key in model[keyPath: templates].keys {
                guard let found = try map.value(for: row(of: key)) else { continue }
                model[keyPath: templates][key]?.stamp = found.stamp
            }
        }
        if model.templatesFull != nil { model.templatesFull = lab.plane.maps.tableLoad[0].templates_full }
    }

    private typealias Templates = WritableKeyPath<PathModel, [PathModel.TemplateKey: PathModel.Template]>

    /// The pairs of a template map in the model and the same map in the packet program.
    private var templateMaps: [(Templates, BPFMap<ipvsd_template_key, ipvsd_template>)] {
        let maps = lab.plane.maps
        return [(\.templates, maps.templates)] + (maps.confirmedTemplates.map { [(\.confirmedTemplates, $0)] } ?? [])
    }

    private func row(of key: PathModel.TemplateKey) -> ipvsd_template_key {
        ipvsd_template_key(client: key.client.bigEndian, service: UInt32(key.service))
    }

    private func compareAll() throws {
        for bucket in 0..<plan.traits.buckets {
            if let text = compareBucket(bucket) { throw Difference(description: "checkpoint: \(text)") }
        }
        let pressure = lab.plane.maps.tableLoad[0]
        guard pressure.half_open == UInt32(model.halfOpen) else {
            throw Difference(description: "checkpoint: \(pressure.half_open) half-open; by the model \(model.halfOpen)")
        }
        for (id, server) in model.servers {
            let load = lab.plane.maps.connectionCounts[Int(id)], counts = model.counts(of: id)
            let found = [load.active, load.inactive, load.unanswered]
            let wanted = [counts?.active ?? 0, counts?.inactive ?? 0, server.unanswered]
            guard found == wanted else {
                throw Difference(
                    description:
                        "checkpoint: server \(id): active, inactive, unanswered \(found); by the model \(wanted)")
            }
            let total = try lab.plane.maps.statistics(of: id)
            let sums = [total.connections, total.packets, total.bytes]
            let expected = [server.connections, server.packets, server.bytes]
            guard sums == expected else {
                throw Difference(
                    description:
                        "checkpoint: server \(id): connections, packets, bytes \(sums); by the model \(expected)")
            }
        }
        for (templates, map) in templateMaps {
            for (key, template) in model[keyPath: templates] {
                let found = try map.value(for: row(of: key))
                guard found?.server == template.server, found?.stamp == template.stamp else {
                    throw Difference(
                        description:
                            "checkpoint: template of \(key): \(String(describing: found)); by the model \(template)")
                }
            }
        }
        let confirmed = try lab.plane.maps.confirmedTemplates?.keys().count
        guard confirmed == model.confirmedTemplates.count else {
            throw Difference(
                description: "checkpoint: \(confirmed ?? 0) confirmed templates; by the model "
                    + "\(model.confirmedTemplates.count)")
        }
        var learnt: [Int: Set<UInt16>] = [:]
        for key in try lab.plane.maps.learntPorts.keys() {
            learnt[Int(key.id), default: []].insert(UInt16(bigEndian: key.port))
        }
        guard learnt == model.learntPorts.filter({ !$0.value.isEmpty }) else {
            throw Difference(description: "checkpoint: learnt ports \(learnt); by the model \(model.learntPorts)")
        }
    }
}
