internal import DataPlane
internal import LoadBalancing
internal import Netlink
internal import PacketPrograms

/// A packet's way through the director, as director.bpf.c has it.
extension PacketDecision {
    public init(on packet: ExplainedPacket, by tables: PacketTables) {
        var path = DecisionPath(packet: packet, tables: tables)
        path.walk()
        self = path.decision
    }
}

private struct DecisionPath {
    enum Fate {
        case server(UInt32)
        case noServer
        case end(ipvsd_counter)
    }

    let packet: ExplainedPacket
    let tables: PacketTables
    var decision = PacketDecision()

    mutating func walk() {
        decision.ingressMTU = tables.settings.ingressMTU
        decision.ownMACs = tables.settings.ownMACs.map(\.description)
        decision.halfOpen = max(Int(tables.pressure.halfOpen), 0)
        decision.halfOpenLimit = Int(tables.settings.halfOpenLimit)
        decision.isUnattended = tables.isUnattended
        guard tables.isVIP else { return }
        describeService()
        switch fate() {
        case .end(let counter): end(counter)
        case .noServer: answer(IPVSD_ANSWERED_NO_SERVER)
        case .server(let id): forward(to: id)
        }
    }

    private mutating func end(_ counter: ipvsd_counter) {
        let counter = PacketCounter.all[Int(counter.rawValue)]
        decision.reason = counter.name
        switch counter.group {
        case .forwarded: decision.verdict = .forwarded
        case .passed: decision.verdict = .passed
        case .answered: decision.verdict = .answered
        default: decision.verdict = .dropped
        }
    }

    /// As long as the limit of answers is not reached.
    private mutating func answer(_ counter: ipvsd_counter) { end(mayAnswer(counter)) }

    private mutating func count(_ event: ipvsd_counter) {
        decision.events.append(PacketCounter.all[Int(event.rawValue)].name)
    }

    // MARK: Service and connection

    private mutating func fate() -> Fate {
        if packet.hasMartianSource { return .end(IPVSD_DROPPED_MARTIAN_SOURCE) }
        guard let listener = tables.listener else { return .end(IPVSD_PASSED_NO_SERVICE) }
        if packet.length > tables.settings.ingressMTU { return .end(IPVSD_DROPPED_MERGED_FRAME) }
        let hit = tables.find(port: packet.port)
        if hit == nil, tables.isClientVIP { return .end(IPVSD_DROPPED_MARTIAN_SOURCE) }
        decision.connection = hit.flatMap { connection($0) }
        return packet.transport == .udp ? onUDP(listener, hit) : onTCP(listener, hit)
    }

    private mutating func onUDP(_ listener: PacketTables.Listener, _ hit: PacketTables.Hit?) -> Fate {
        if listener.has(IPVSD_SERVICE_ONE_PACKET) {
            decision.recording = PacketDecision.Recording.none
            // No entry is asked for, and none is kept.
            decision.connection = nil
            return choose(.onePacket).map { .server($0) } ?? .noServer
        }
        guard let hit else { return begin(choose(.newConnection), over: nil) }
        let (holder, isLost) = (hit.entry.server, serverHas(hit.entry.server, IPVSD_SERVER_DOWN))
        if !isLost, !serverHas(holder, IPVSD_SERVER_LEFT) { return .server(holder) }
        if !isLost, listener.has(IPVSD_SERVICE_FINISHES) {
            decision.connection?.fate = .finishing
            return .server(holder)
        }
        count(IPVSD_EVENT_RESCHEDULED)
        decision.connection?.fate = .serverLost
        return begin(choose(.serverLost), over: hit)
    }

    private mutating func onTCP(_ listener: PacketTables.Listener, _ hit: PacketTables.Hit?) -> Fate {
        guard let hit else {
            guard packet.opens else { return onTCPWithoutConnection() }
            guard tables.isFlooded else { return begin(choose(.newConnection), over: nil) }
            count(IPVSD_EVENT_UNRECORDED)
            decision.recording = PacketDecision.Recording.none
            return rederive(.flood).map { .server($0) } ?? .noServer
        }
        let holder = hit.entry.server
        if packet.opens {
            let isClosing = FlowState.isClosing(hit.entry.state)
            if isClosing || serverHas(holder, IPVSD_SERVER_DOWN | IPVSD_SERVER_REMOVED) {
                count(IPVSD_EVENT_RESCHEDULED)
                decision.connection?.fate = isClosing ? .reusedPorts : .serverLost
                return begin(choose(isClosing ? .reusedPorts : .serverLost), over: hit)
            }
            if hit.entry.state == FlowState.synReceived, isSilent(holder),
                let other = tables.chooseOther(packet, than: holder)
            {
                count(IPVSD_EVENT_RESCHEDULED_SILENT)
                decision.connection?.fate = .serverSilent
                decision.choices.append(PacketDecision.Choice(occasion: .serverSilent, choice: other))
                return begin(other.id, over: hit)
            }
        }
        let endsIt = listener.has(IPVSD_SERVICE_RESETS | IPVSD_SERVICE_REHASHES)
        if endsIt, packet.segment != .rst, serverHas(holder, IPVSD_SERVER_DOWN) {
            if listener.has(IPVSD_SERVICE_RESETS) {
                decision.connection?.fate = .reset
                return .end(mayAnswer(IPVSD_ANSWERED_SERVER_LOST))
            }
            count(IPVSD_EVENT_RESCHEDULED)
            decision.connection?.fate = .serverLost
            return begin(choose(.serverLost), over: hit)
        }
        return .server(holder)
    }

    /// Of a connection that was not recorded, perhaps.
    private mutating func onTCPWithoutConnection() -> Fate {
        if tables.service?.isHashBased ?? false { decision.forgettings.append(.hashBased) }
        if tables.hasOverflowed { decision.forgettings.append(.noRoom) }
        if tables.hasBeenFlooded { decision.forgettings.append(.flood) }
        guard !decision.forgettings.isEmpty else {
            return .end(
                packet.segment == .rst
                    ? IPVSD_DROPPED_RESET_WITHOUT_CONNECTION : mayAnswer(IPVSD_ANSWERED_NO_CONNECTION))
        }
        guard let id = rederive(.unknownConnection) else { return .noServer }
        count(IPVSD_EVENT_REDERIVED)
        if packet.carriesData || !tables.isFlooded {
            record(over: nil)
        } else {
            decision.recording = PacketDecision.Recording.none
        }
        return .server(id)
    }

    private func mayAnswer(_ counter: ipvsd_counter) -> ipvsd_counter {
        tables.settings.repliesPerSecond > 0 ? counter : IPVSD_DROPPED_REPLY_LIMIT
    }

    // MARK: Choices

    private var isPersistent: Bool { tables.listener?.has(IPVSD_SERVICE_PERSISTENT) ?? false }

    private mutating func choose(_ occasion: PacketDecision.Choice.Occasion) -> UInt32? {
        let choice = tables.choose(packet, isPersistent: isPersistent)
        decision.choices.append(PacketDecision.Choice(occasion: occasion, choice: choice))
        return choice.id
    }

    private mutating func rederive(
        _ occasion: PacketDecision.Choice.Occasion, templateNames server: UInt32? = nil
    ) -> UInt32? {
        let choice = tables.rederive(packet, isPersistent: isPersistent, templateNames: server)
        decision.choices.append(PacketDecision.Choice(occasion: occasion, choice: choice))
        return choice.id
    }

    /// `new_conn` of director.bpf.c: where there is no room, what every director would choose needs none.
    private mutating func begin(_ id: UInt32?, over hit: PacketTables.Hit?) -> Fate {
        guard let id else { return .noServer }
        guard !record(over: hit) else { return .server(id) }
        count(IPVSD_EVENT_FLOW_TABLE_FULL)
        // A persistent client's template names the new one by then.
        return rederive(.noRoom, templateNames: isPersistent ? id : nil).map { .server($0) } ?? .noServer
    }

    @discardableResult
    private mutating func record(over hit: PacketTables.Hit?) -> Bool {
        if let hit, !hit.isInFormerTable {
            decision.recording = .renewed
            return true
        }
        switch tables.room {
        case .free: decision.recording = .recorded
        case .evicting:
            decision.recording = .evicting
            count(IPVSD_EVENT_FLOW_EVICTED)
        case .none: decision.recording = .noRoom
        }
        return decision.recording != .noRoom
    }

    private func serverHas(_ id: UInt32, _ flags: UInt32) -> Bool { tables.servers[id]?.has(flags) ?? true }

    /// Its clients' SYNs, and no ACK that completes a handshake.
    private func isSilent(_ id: UInt32) -> Bool {
        guard let load = tables.servers[id]?.load, tables.settings.silentAfter > 0 else { return false }
        return load.unanswered >= tables.settings.silentAfter
            && tables.shortNow &- UInt16(truncatingIfNeeded: load.completed) >= UInt16(IPVSD_SILENT_TICKS)
    }

    // MARK: The way out

    /// `forward` of forward.h.
    private mutating func forward(to id: UInt32) {
        guard let server = tables.servers[id] else { return end(IPVSD_DROPPED_INTERNAL) }
        decision.server = server.address
        guard let path = server.path else { return end(IPVSD_DROPPED_NO_NEXT_HOP) }
        decision.way = way(path)
        if path.isLocal { return end(IPVSD_FORWARDED) }
        guard path.nextHopMAC != nil else { return end(IPVSD_DROPPED_NO_NEXT_HOP) }
        if packet.length + Self.encapsulation > Int(path.mtu) {
            guard packet.mayBeFragmented else { return answer(IPVSD_ANSWERED_TOO_BIG) }
            guard tables.settings.fragmentingInterface != 0 else { return end(IPVSD_DROPPED_TOO_BIG_WITHOUT_DF) }
            count(IPVSD_EVENT_FRAGMENTED)
            decision.way?.isFragmented = true
        }
        end(IPVSD_FORWARDED)
    }

    private static let encapsulation = Int(IPVSD_ENCAPSULATION)

    private func way(_ path: Path) -> PacketDecision.Way {
        let source = tables.settings.outerSources?.outerSource(client: packet.client, clientPort: packet.clientPort)
        return PacketDecision.Way(
            isLocal: path.isLocal, source: path.isLocal ? path.source : source ?? path.source,
            destination: path.destination, dontFragment: !packet.mayBeFragmented,
            length: packet.length + Self.encapsulation, mtu: Int(path.mtu), largest: Int(path.mtu) - Self.encapsulation,
            sourceMAC: path.sourceMAC.description, nextHopMAC: path.nextHopMAC?.description,
            tags: path.tags.map { "\($0.protocolID == 0x88A8 ? "802.1ad" : "802.1q") \($0.id)" },
            interface: path.interface, canFragment: tables.settings.fragmentingInterface != 0)
    }

    // MARK: What is told of it

    private mutating func describeService() {
        guard let listener = tables.listener, let service = tables.service else { return }
        let persistence = listener.has(IPVSD_SERVICE_PERSISTENT)
        let scheduler = Scheduler(packedName: service.row.name)
        decision.service = PacketDecision.Service(
            listener: listener.address, listeners: service.listeners, scheduler: scheduler,
            comparesBy: service.comparesBy,
            schedulerFlags: scheduler.map { SchedulerFlag.flags(of: $0, word: service.row.schedule) }
                .map { $0.map(\.rawValue).sorted() } ?? [],
            persistence: persistence ? XDPDataPlane.seconds(ticks: Int(service.row.persistence)) : nil,
            persistencePrefixLength: persistence ? service.netmask.nonzeroBitCount : nil,
            isOnePacket: listener.has(IPVSD_SERVICE_ONE_PACKET), onServerLoss: ServerLoss(flags: listener.flags),
            onServerRemoval: listener.has(IPVSD_SERVICE_FINISHES) ? .finish : .move, index: listener.service)
        if persistence { decision.template = tables.template.map { template($0, service) } }
        let (slots, maglev) = (Self.places(service.slots), Self.places(service.maglev))
        decision.candidates = tables.servers.values
            .filter { UInt32($0.row.service) == listener.service && $0.has(IPVSD_SERVER_USED) && !$0.row.isRemoved }
            .sorted { $0.id < $1.id }
            .map { server in
                PacketDecision.Candidate(
                    server: server.address, schedulerWeight: server.row.weight, isOverloaded: server.isOverloaded,
                    active: server.load.active, inactive: server.load.inactive, slots: slots[server.id] ?? 0,
                    maglevSlots: maglev[server.id] ?? 0, unanswered: server.load.unanswered)
            }
    }

    /// How many each server has.
    private static func places(_ table: [UInt32]) -> [UInt32: Int] {
        table.reduce(into: [:]) { counts, id in counts[id, default: 0] += 1 }
    }

    private func seconds(_ ticks: Int) -> Double { Double(ticks << Int(IPVSD_TICK_SHIFT)) / 1e9 }

    private func connection(_ hit: PacketTables.Hit) -> PacketDecision.Connection? {
        guard let state = Flow.State(rawState: hit.entry.state) else { return nil }
        let server = tables.servers[hit.entry.server]
        let age = Int(hit.entry.age(at: tables.shortNow))
        let isBare = [IPVSD_STATE_BARE_ACK, IPVSD_STATE_ONE_DATAGRAM].contains { Int($0.rawValue) == hit.entry.state }
        return PacketDecision.Connection(
            state: state, isBare: isBare, server: server?.address,
            serverStanding: standing(server), idle: seconds(age),
            remaining: seconds(Int(tables.settings.timeouts[hit.entry.state]) - age),
            bucket: (hit.isInSecondBucket ? tables.places?.home.second : tables.places?.home.bucket) ?? 0,
            isInSecondBucket: hit.isInSecondBucket, isInOwnHalf: hit.isInOwnHalf, isInFormerTable: hit.isInFormerTable)
    }

    private func standing(_ server: PacketTables.Server?) -> PacketDecision.Connection.ServerStanding {
        switch server {
        case let server? where server.has(IPVSD_SERVER_DOWN): .down
        case let server? where !server.has(IPVSD_SERVER_LEFT): .up
        case let server? where !server.has(IPVSD_SERVER_REMOVED): .drained
        case let server? where !server.row.isRemoved: .standby
        default: .removed
        }
    }

    private func template(_ template: ipvsd_template, _ service: PacketTables.Service) -> PacketDecision.Template {
        let left = tables.ticksLeft(of: template, in: service)
        let server = tables.servers[template.server]
        let standing: PacketDecision.Template.Standing
        switch server {
        case _ where left < 0: standing = .expired
        case let server? where server.has(IPVSD_SERVER_DOWN): standing = .serverDown
        case let server? where server.has(PacketTables.left(by: packet.transport) & ~PacketTables.out):
            standing = .serverMoves
        case _ where tables.serverOfTemplate(refusing: PacketTables.out) != nil: standing = .heeded
        default: standing = .serverRemoved
        }
        return PacketDecision.Template(
            client: IPv4Address(packet.client.value & service.netmask),
            prefixLength: service.netmask.nonzeroBitCount, server: server?.address, remaining: seconds(max(left, 0)),
            standing: standing)
    }
}
