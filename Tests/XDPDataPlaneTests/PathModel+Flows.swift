import Addresses
import LoadBalancing
import PacketPrograms
import TestSupport

@testable import XDPDataPlane

/// The records of connections, and the choice of a server for new connections.
extension PathModel {
    // MARK: Flow table

    /// Records a flow over its older entry, or else where there is room. Returns whether there was room.
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

    /// Refreshes the flow's entry if its state changes, or if its stamp lags by more than 1/32 of the time-out. Then
    /// also refreshes the client's template.
    mutating func keepUp(
        _ place: FlowTableModel.Place, _ listener: Listener, _ client: IPv4Address, _ state: State, proves: Bool,
        _ departure: Departure
    ) {
        guard var entry = flows[place] else { return }
        var lag = UInt32(flows.timeout(state) / 32)
        let persistence = services[listener.service]?.desired.persistence
        if let persistence { lag = min(lag, XDPDataPlane.ticks(seconds: persistence.timeout) / 8) }
        if state == entry.state, UInt32(entry.age(shortNow)) <= lag { return }
        entry.state = state
        entry.stamp = shortNow
        put(entry, at: place)
        if persistence != nil {
            keepUpTemplate(listener.service, client, proven: proves ? entry.server : nil, departure)
        }
    }

    /// Whether a packet without a connection may belong to a connection that has no entry.
    func mayBeUnrecorded(_ listener: Listener, _ flow: Identity) -> Bool {
        services[listener.service]?.isHashBased ?? false || flows.hasOverflowed(flow, now: shortNow)
            || flooded.map { now &- $0 <= UInt32(flows.timeout(.established)) } ?? false
    }

    var isFlooded: Bool { settings.halfOpenLimit > 0 && halfOpen >= settings.halfOpenLimit }

    /// Whether a server is silent: SYNs are unanswered, and no handshake has completed for some ticks.
    func isSilent(_ id: UInt32) -> Bool {
        guard let server = servers[id], settings.silentAfter > 0 else { return false }
        return server.unanswered >= settings.silentAfter
            && shortNow &- UInt16(truncatingIfNeeded: server.completed) >= UInt16(IPVSD_SILENT_TICKS)
    }

    // MARK: Servers

    /// Returns the server of a new connection, by its template or the scheduler, or nil if none takes it.
    mutating func schedule(_ row: Int, _ packet: Packet) -> UInt32? {
        guard let service = services[row], let persistence = service.desired.persistence else {
            return choose(row, packet)
        }
        let departure: Departure = packet.protocolNumber == 17 ? .datagrams : .connections
        if let (id, isConfirmed) = template(row, packet.client, departure) {
            if !isConfirmed, departure == .datagrams { _ = confirm(row, packet.client, id, departure) }
            return id
        }
        if lacksRoomForTemplates {
            return maglev(service, IPv4Address(packet.client.value & persistence.netmask), port: 0)
        }
        guard let id = choose(row, packet) else { return nil }
        keepTemplate(row, packet.client, id, renews: true)
        return id
    }

    private mutating func choose(_ row: Int, _ packet: Packet) -> UInt32? {
        guard let number = services[row]?.scheduler.choose(client: packet.client, port: packet.clientPort) else {
            return nil
        }
        return services[row]?.ids[number]
    }

    /// Returns the server that every director chooses for a packet without a connection. Thresholds do not count.
    mutating func rederive(_ row: Int, _ client: IPv4Address, _ port: UInt16) -> UInt32? {
        guard let service = services[row] else { return nil }
        let flags = service.desired.flags
        if let persistence = service.desired.persistence {
            return template(row, client, .none)?.id
                ?? maglev(service, IPv4Address(client.value & persistence.netmask), port: 0)
        }
        guard service.isHashBased else { return maglev(service, client, port: port) }
        if service.desired.scheduler == .mh {
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

    /// Returns the replacement of a silent server: the scheduler's choice, or one of two other choices by the Maglev
    /// table.
    mutating func otherServer(_ row: Int, _ packet: Packet, besides silent: UInt32) -> UInt32? {
        var other = choose(row, packet)
        guard let service = services[row] else { return nil }
        for step in 1...2 as ClosedRange<UInt16> where other == silent {
            // As in the packet program, the step is added to the port in network byte order.
            other = maglev(service, packet.client, port: (packet.clientPort.bigEndian &+ step).bigEndian)
        }
        guard let other, other != silent, let counts = counts(of: other) else { return nil }
        if counts.thresholds != nil, counts.isOverloaded { return nil }
        if service.desired.persistence != nil {
            keepTemplate(row, packet.client, other, renews: false)
        }
        return other
    }

    // MARK: Persistence

    private func templateKey(_ row: Int, _ client: IPv4Address) -> TemplateKey {
        let netmask = services[row]?.desired.persistence?.netmask ?? .max
        return TemplateKey(service: row, client: IPv4Address(client.value & netmask))
    }

    private func takesClients(_ id: UInt32, of row: Int, _ departure: Departure) -> Bool {
        guard let server = servers[id], server.service == row, !server.isDown, !server.isRemoved else { return false }
        return switch departure {
        case .none: true
        case .connections: !server.movesPersistent
        case .datagrams: !server.movesPersistent && !server.movesDatagrams
        }
    }

    /// Returns the template's server, or nil if the template has expired or the server does not take such a client.
    private func server(of template: Template?, _ row: Int, _ departure: Departure) -> UInt32? {
        guard let template, let persistence = services[row]?.desired.persistence,
            Int32(bitPattern: now &- template.stamp) <= XDPDataPlane.ticks(seconds: persistence.timeout),
            takesClients(template.server, of: row, departure)
        else { return nil }
        return template.server
    }

    /// Returns the server of the client's template, and whether the template is confirmed. A confirmed template comes
    /// first.
    mutating func template(
        _ row: Int, _ client: IPv4Address, _ departure: Departure
    ) -> (id: UInt32, isConfirmed: Bool)? {
        let key = templateKey(row, client)
        if let id = server(of: confirmedTemplates[key], row, departure) {
            confirmedTemplates[key]?.stamp = now
            return (id, true)
        }
        guard let id = server(of: templates[key], row, departure) else { return nil }
        templates[key]?.stamp = now
        return (id, false)
    }

    /// Writes a template. If `renews` is true, it replaces a confirmed template of the client, which is invalid.
    private mutating func keepTemplate(_ row: Int, _ client: IPv4Address, _ id: UInt32, renews: Bool) {
        let (key, template) = (templateKey(row, client), Template(server: id, stamp: now))
        if renews, confirmedTemplates[key] != nil {
            confirmedTemplates[key] = template
        } else {
            templates[key] = template
        }
    }

    private var lacksRoomForTemplates: Bool {
        templatesFull.map { Int32(bitPattern: now &- $0) <= Int32(IPVSD_FULL_TICKS) } ?? false
    }

    /// Refreshes the client's template by a packet of a flow. Confirms it if the packet proves the client: `proven` is
    /// then the flow's server.
    private mutating func keepUpTemplate(
        _ row: Int, _ client: IPv4Address, proven: UInt32?, _ departure: Departure
    ) {
        if let proven, confirm(row, client, proven, departure) { return }
        _ = template(row, client, .none)
    }

    private mutating func confirm(_ row: Int, _ client: IPv4Address, _ id: UInt32, _ departure: Departure) -> Bool {
        let key = templateKey(row, client)
        if server(of: confirmedTemplates[key], row, departure) != nil {
            confirmedTemplates[key]?.stamp = now
            return true
        }
        guard takesClients(id, of: row, departure) else { return false }
        let hasRoom = confirmedTemplates.count < mostConfirmedTemplates && !lacksRoomForTemplates
        if hasRoom || confirmedTemplates[key] != nil {
            confirmedTemplates[key] = Template(server: id, stamp: now)
            return true
        }
        if !lacksRoomForTemplates { templatesFull = now }
        return false
    }
}
