import Addresses
import DataPlane
import LoadBalancing
import PacketPrograms
import TestSupport

@testable import XDPDataPlane

/// What is remembered of connections, and who gets a new one.
extension PathModel {
    // MARK: Flow table

    /// In place of the same flow's older entry, or where there is room.
    mutating func record(_ flow: Identity, over place: FlowTableModel.Place?, _ id: UInt32, _ state: State) -> Bool {
        let entry = FlowTableModel.Entry(identity: flow, server: id, state: state, stamp: shortNow)
        if let place {
            put(entry, at: place)
            return true
        }
        guard let room = flows.room(for: flow, now: shortNow) else { return false }
        let evicted = room.evicts ? flows[room.place] : nil
        put(entry, at: room.place)
        if let evicted {
            flows.markOverflow(of: evicted.identity, now: shortNow)
            count(IPVSD_EVENT_FLOW_EVICTED)
        }
        return true
    }

    /// The flow's stamp, which may lag by 1/32 of its time-out, and with it the client's template.
    mutating func keepUp(_ place: FlowTableModel.Place, _ listener: Listener, _ client: IPv4Address, _ state: State) {
        guard var entry = flows[place] else { return }
        var lag = UInt32(flows.timeout(state) / 32)
        let persistence = services[listener.service]?.desired.configured.persistence
        if let persistence { lag = min(lag, XDPDataPlane.ticks(seconds: persistence.timeout) / 8) }
        if state == entry.state, UInt32(entry.age(shortNow)) <= lag { return }
        entry.state = state
        entry.stamp = shortNow
        put(entry, at: place)
        if persistence != nil { _ = template(listener.service, client) }
    }

    /// Whether a packet without a connection may be one of a connection that has no entry.
    func mayBeUnrecorded(_ listener: Listener, _ flow: Identity) -> Bool {
        services[listener.service]?.isHashBased ?? false || flows.hasOverflowed(flow, now: shortNow)
            || flooded.map { now &- $0 <= UInt32(flows.timeout(.established)) } ?? false
    }

    var isFlooded: Bool { settings.halfOpenLimit > 0 && halfOpen >= settings.halfOpenLimit }

    /// SYNs, and for two ticks no ACK that completes a handshake.
    func isSilent(_ id: UInt32) -> Bool {
        guard let server = servers[id], settings.silentAfter > 0 else { return false }
        return server.unanswered >= settings.silentAfter
            && shortNow &- UInt16(truncatingIfNeeded: server.completed) >= UInt16(IPVSD_SILENT_TICKS)
    }

    // MARK: Servers

    /// For a new connection.
    mutating func schedule(_ row: Int, _ packet: Packet) -> UInt32? {
        guard services[row]?.desired.configured.persistence != nil else { return choose(row, packet) }
        if let id = template(row, packet.client, ofNew: packet) { return id }
        guard let id = choose(row, packet) else { return nil }
        keepTemplate(row, packet.client, id)
        return id
    }

    private mutating func choose(_ row: Int, _ packet: Packet) -> UInt32? {
        guard let number = services[row]?.scheduler.choose(client: packet.client, port: packet.clientPort) else {
            return nil
        }
        return services[row]?.ids[number]
    }

    /// For a packet without a connection: what any director would say. No threshold counts.
    mutating func rederive(_ row: Int, _ client: IPv4Address, _ port: UInt16) -> UInt32? {
        guard let service = services[row] else { return nil }
        let flags = service.desired.configured.flags
        if let persistence = service.desired.configured.persistence {
            return template(row, client)
                ?? maglev(service, IPv4Address(client.value & persistence.netmask), port: 0)
        }
        guard service.isHashBased else { return maglev(service, client, port: port) }
        if service.desired.configured.scheduler == .mh {
            return maglev(service, client, port: flags.contains(.mhPort) ? port : 0)
        }
        let bucket = SourceHash.bucket(client: client, port: flags.contains(.shPort) ? port : 0)
        let numbers = service.sourceHash
        let chosen = SourceHash.server(
            ofBucket: bucket, in: numbers.map { $0.map(Int.init) }, fallback: flags.contains(.shFallback)
        ) { number in weight(service, UInt8(number)) > 0 }
        return chosen.flatMap { service.ids[UInt8($0)] }
    }

    private func weight(_ service: Service, _ number: UInt8) -> UInt16 {
        service.scheduler.servers.first { $0.number == number }?.effectiveWeight ?? 0
    }

    private func maglev(_ service: Service, _ client: IPv4Address, port: UInt16) -> UInt32? {
        guard !service.maglev.isEmpty else { return nil }
        let hash = MaglevTable.hash(client: client, port: port)
        return service.ids[service.maglev[MaglevTable.slot(of: hash, size: service.maglev.count)]]
    }

    /// In place of a silent server: whom the scheduler names, or one of two others that Maglev's table does.
    mutating func otherServer(_ row: Int, _ packet: Packet, besides silent: UInt32) -> UInt32? {
        var other = choose(row, packet)
        guard let service = services[row] else { return nil }
        for step in 1...2 as ClosedRange<UInt16> where other == silent {
            // Counted up in network byte order.
            other = maglev(service, packet.client, port: (packet.clientPort.bigEndian &+ step).bigEndian)
        }
        guard let other, other != silent, let counts = counts(of: other) else { return nil }
        if counts.thresholds != nil, counts.isOverloaded { return nil }
        if service.desired.configured.persistence != nil { keepTemplate(row, packet.client, other) }
        return other
    }

    // MARK: Persistence

    private func templateKey(_ row: Int, _ client: IPv4Address) -> TemplateKey {
        let netmask = services[row]?.desired.configured.persistence?.netmask ?? .max
        return TemplateKey(service: row, client: IPv4Address(client.value & netmask))
    }

    /// The client's server, if that is still one, and its time is not over; for a new flow's packet not one whose clients
    /// move.
    mutating func template(_ row: Int, _ client: IPv4Address, ofNew packet: Packet? = nil) -> UInt32? {
        let key = templateKey(row, client)
        guard let template = templates[key], let persistence = services[row]?.desired.configured.persistence,
            Int32(bitPattern: now &- template.stamp) <= XDPDataPlane.ticks(seconds: persistence.timeout),
            let server = servers[template.server], server.service == row, !server.isDown, !server.isRemoved,
            packet == nil || !(server.movesPersistent || server.movesDatagrams && packet?.protocolNumber == 17)
        else { return nil }
        templates[key]?.stamp = now
        return template.server
    }

    mutating func keepTemplate(_ row: Int, _ client: IPv4Address, _ id: UInt32) {
        templates[templateKey(row, client)] = Template(server: id, stamp: now)
    }
}
