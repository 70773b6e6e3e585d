public import LoadBalancing
internal import PacketPrograms

/// How a real server is chosen, and which: nothing takes a turn by being asked.
public struct ServerChoice: Sendable, Hashable, Encodable {
    /// By what the packet program chooses.
    public enum Method: String, Sendable, Encodable, CaseIterable {
        /// The client's template, in a persistent service.
        case template
        /// Whose turn it is in a ring: every new connection of the service takes one.
        case turn
        /// Two places of a ring are drawn by a counter of the service's new connections.
        case twoChoices = "two-choices"
        /// Numbers of connections and weights are compared.
        case comparison
        /// The VIP's server, or set of servers.
        case locality
        /// A hash of the client names a bucket.
        case sourceHash = "source-hash"
        /// A hash of the client names a slot of the Maglev table.
        case maglev
    }

    public var method: Method
    /// Of rings and hash tables: the place that is looked at first, and how many there are.
    public var slot: Int?
    public var slots: Int?
    /// The client's port counts for the hash.
    public var isByPort = false
    /// How many places were passed by, because their servers take no new connections.
    public var passed = 0
    /// Nil: there is none.
    public var server: IPv4Address?
    var id: UInt32?

    enum CodingKeys: String, CodingKey { case method, slot, slots, isByPort = "byPort", passed, server }
}

/// The schedulers, over the tables that the packet program has.
extension PacketTables {
    /// ip_vs_dest_conn_overhead and the like, per server id.
    func load(_ id: UInt32) -> LeastConnections.Load {
        guard let server = servers[id] else { return LeastConnections.Load(active: 0, inactive: 0, weight: 0) }
        return LeastConnections.Load(
            active: server.load.active, inactive: server.load.inactive, weight: server.row.weight,
            isOverloaded: server.isOverloaded)
    }

    private func isAvailable(_ id: UInt32) -> Bool { servers[id]?.isAvailable ?? false }

    private func choice(_ method: ServerChoice.Method, _ id: UInt32?) -> ServerChoice {
        let id = id == 0 ? nil : id
        return ServerChoice(method: method, server: id.flatMap { servers[$0]?.address }, id: id)
    }

    /// For a new connection: `choose_new` of schedule.h.
    func choose(_ packet: ExplainedPacket, isPersistent: Bool) -> ServerChoice {
        if isPersistent, let id = serverOfTemplate(refusing: Self.left(by: packet.transport)) {
            return choice(.template, id)
        }
        return schedule(client: packet.client, clientPort: packet.clientPort)
    }

    /// For a packet without a connection, by what every director knows: `reselect_stateless` of schedule.h.
    /// `templateNames`: the server that the client's template would have been given just before.
    func rederive(_ packet: ExplainedPacket, isPersistent: Bool, templateNames given: UInt32? = nil) -> ServerChoice {
        guard let service else { return choice(.maglev, nil) }
        if isPersistent {
            if let given, !(servers[given]?.has(Self.out) ?? true) { return choice(.template, given) }
            if let id = serverOfTemplate(refusing: Self.out) { return choice(.template, id) }
            return maglev(IPv4Address(packet.client.value & service.netmask), nil)
        }
        return service.isHashBased
            ? byHash(packet.client, packet.clientPort, heedsThresholds: false)
            : maglev(packet.client, packet.clientPort)
    }

    /// Another server than the silent one; nil where there is none that takes new connections: `select_excluding` of
    /// schedule.h.
    func chooseOther(_ packet: ExplainedPacket, than silent: UInt32) -> ServerChoice? {
        var other = schedule(client: packet.client, clientPort: packet.clientPort)
        for step in 1...2 as ClosedRange<UInt16> where other.id == silent {
            // Counted up in network byte order.
            other = maglev(packet.client, (packet.clientPort.bigEndian &+ step).bigEndian)
        }
        guard let id = other.id, id != silent, let server = servers[id], !server.isOverloaded else { return nil }
        return other
    }

    /// `choose` of schedule.h.
    private func schedule(client: IPv4Address, clientPort: UInt16) -> ServerChoice {
        guard let service else { return choice(.turn, nil) }
        if service.isHashBased { return byHash(client, clientPort, heedsThresholds: true) }
        switch service.kind {
        case IPVSD_SCHEDULER_TWOS.rawValue: return byTwoChoices(service)
        case IPVSD_SCHEDULER_LBLC.rawValue, IPVSD_SCHEDULER_LBLCR.rawValue:
            return choice(.locality, byLocality(service))
        case IPVSD_SCHEDULER_RING.rawValue, IPVSD_SCHEDULER_NONE.rawValue: return byTurn(service)
        default: return choice(.comparison, bySearch(service))
        }
    }

    // MARK: Rings

    /// A walk over a table ends after so many places.
    private static let longestWalk = Int(IPVSD_RING_LIMIT)

    /// From a place on and around, the first server that is available.
    private func walk(_ method: ServerChoice.Method, _ table: [UInt32], from slot: Int) -> ServerChoice {
        let step = (0..<min(table.count, Self.longestWalk)).first { isAvailable(table[(slot + $0) % table.count]) }
        var choice = choice(method, step.map { table[(slot + $0) % table.count] })
        (choice.slot, choice.slots, choice.passed) = (slot % max(table.count, 1), table.count, step ?? table.count)
        return choice
    }

    private func byTurn(_ service: Service) -> ServerChoice {
        guard !service.slots.isEmpty else { return choice(.turn, nil) }
        return walk(.turn, service.slots, from: Int(service.row.cursor % UInt64(service.slots.count)))
    }

    private func byTwoChoices(_ service: Service) -> ServerChoice {
        let slots = service.slots
        let index = LeastConnections.twoChoices(
            slots.map(load), ring: Array(slots.indices), draw: PacketHash.mix(service.row.cursor &+ 1))
        var choice = choice(.twoChoices, index.map { slots[$0] })
        choice.slots = slots.count
        return choice
    }

    // MARK: Comparisons

    private func bySearch(_ service: Service) -> UInt32? {
        let loads = service.slots.map(load)
        let index: Int? =
            switch service.kind {
            case IPVSD_SCHEDULER_LC.rawValue: LeastConnections.choose(loads, weighted: false)
            case IPVSD_SCHEDULER_SED.rawValue: LeastConnections.shortestExpectedDelay(loads)
            case IPVSD_SCHEDULER_NQ.rawValue: LeastConnections.neverQueue(loads)
            case IPVSD_SCHEDULER_OVF.rawValue: LeastConnections.overflow(loads)
            // Its list has the highest weight first.
            case IPVSD_SCHEDULER_FO.rawValue: loads.firstIndex(where: \.isAvailable)
            default: LeastConnections.choose(loads, weighted: true)
            }
        return index.map { service.slots[$0] }
    }

    /// lblc and lblcr: `by_locality` of locality.h.
    private func byLocality(_ service: Service) -> UInt32? {
        let list = service.slots
        let loads = list.map(load)
        let hasIdle = loads.contains { $0.weight > 0 && UInt64($0.active) * 2 < UInt64($0.weight) }
        func isCrowded(_ index: Int) -> Bool { hasIdle && loads[index].active > UInt32(loads[index].weight) }
        let least = LeastConnections.choose(loads, weighted: true)
        // What nobody has asked for in a day is forgotten.
        let clock = now >> UInt32(IPVSD_LOCALITY_SHIFT - IPVSD_TICK_SHIFT)
        let isForgotten = clock &- service.row.used > IPVSD_LOCALITY_EXPIRATION
        var preferred: Int?
        if service.kind == IPVSD_SCHEDULER_LBLC.rawValue {
            preferred =
                isForgotten
                ? nil
                : list.firstIndex(of: service.row.cached).flatMap {
                    loads[$0].isAvailable ? $0 : nil
                }
        } else if !isForgotten {
            // The one that joined last is first.
            let members = list.indices.filter { servers[list[$0]]?.row.joined ?? 0 > service.row.emptied }
                .sorted { servers[list[$0]]?.row.joined ?? 0 > servers[list[$1]]?.row.joined ?? 0 }
            preferred = LeastConnections.choose(members.map { loads[$0] }, weighted: true).map { members[$0] }
        }
        if let preferred, !isCrowded(preferred) { return list[preferred] }
        return least.map { list[$0] }
    }

    // MARK: Hashes

    /// Every director makes the same choice. No threshold counts for a connection that may be an old one.
    private func byHash(_ client: IPv4Address, _ clientPort: UInt16, heedsThresholds: Bool) -> ServerChoice {
        guard let service else { return choice(.maglev, nil) }
        let port = service.isByPort ? clientPort : 0
        var choice =
            service.kind == IPVSD_SCHEDULER_MH.rawValue
            ? byMaglevHash(service, client, port, heedsThresholds: heedsThresholds)
            : bySourceHash(service, client, port, heedsThresholds: heedsThresholds)
        choice.isByPort = service.isByPort
        return choice
    }

    private func byMaglevHash(
        _ service: Service, _ client: IPv4Address, _ port: UInt16, heedsThresholds: Bool
    ) -> ServerChoice {
        var own = maglev(client, service.isByPort ? port : nil)
        guard heedsThresholds, let id = own.id, let slot = own.slot, servers[id]?.isOverloaded ?? false else {
            return own
        }
        if service.fallsBack { return walk(.maglev, service.maglev, from: slot) }
        (own.id, own.server, own.passed) = (nil, nil, 1)
        return own
    }

    private func bySourceHash(
        _ service: Service, _ client: IPv4Address, _ port: UInt16, heedsThresholds: Bool
    ) -> ServerChoice {
        let buckets = service.slots.map { $0 == 0 ? nil : Int($0) }
        guard !buckets.isEmpty else { return choice(.sourceHash, nil) }
        let bucket = SourceHash.bucket(client: client, port: port)
        // Without fallback no bucket is of a server with weight 0.
        let id = SourceHash.server(ofBucket: bucket, in: buckets, fallback: service.fallsBack) { id in
            let load = load(UInt32(id))
            return (load.weight > 0 || !service.fallsBack) && !(heedsThresholds && load.isOverloaded)
        }
        var choice = choice(.sourceHash, id.map { UInt32($0) })
        (choice.slot, choice.slots) = (bucket, buckets.count)
        if choice.id != service.slots[bucket] { choice.passed = 1 }
        return choice
    }

    /// `clientPort` nil: by the address alone.
    private func maglev(_ client: IPv4Address, _ clientPort: UInt16?) -> ServerChoice {
        guard let table = service?.maglev, !table.isEmpty else { return choice(.maglev, nil) }
        let slot = MaglevTable.slot(of: MaglevTable.hash(client: client, port: clientPort ?? 0), size: table.count)
        var choice = choice(.maglev, table[slot])
        (choice.slot, choice.slots, choice.isByPort) = (slot, table.count, clientPort != nil)
        return choice
    }

    // MARK: Persistence

    static let out = IPVSD_SERVER_OUT

    /// Flags of the real servers whose templates do not count for a new flow.
    static func left(by transport: TransportProtocol) -> UInt32 {
        transport == .udp ? IPVSD_SERVER_LEFT_BY_DATAGRAMS : IPVSD_SERVER_LEFT_BY_CONNECTIONS
    }

    /// The template's server, if its time is not over, and the server is none of the refused: `by_template` of
    /// persistence.h.
    func serverOfTemplate(refusing refused: UInt32) -> UInt32? {
        guard let template, let service, let listener, ticksLeft(of: template, in: service) >= 0,
            let server = servers[template.server], UInt32(server.row.service) == listener.service,
            UInt32(server.row.flags) & (IPVSD_SERVER_USED | refused) == IPVSD_SERVER_USED
        else { return nil }
        return template.server
    }

    /// Less than 0: its time is over.
    func ticksLeft(of template: ipvsd_template, in service: Service) -> Int {
        Int(Int32(bitPattern: service.row.persistence)) - Int(Int32(bitPattern: now &- template.stamp))
    }
}
