internal import Addresses
public import BPF
internal import CLinux
internal import Glibc
public import LoadBalancing
internal import PacketPrograms
internal import SystemCalls

/// The rows of listeners, services and real servers. A row is written before the row that names it, and a swap is one
/// store of a word.
extension XDPDataPlane {
    /// Replaces all services of the packet program. TCP connections of a removed real server go on until they end. For
    /// its datagrams `ServerRemoval` decides.
    public func apply(_ desired: [VirtualService]) throws(BPFError) {
        defer { destinations = nil }
        for service in desired { try refuse(service) }
        try requireRoom(for: desired)
        let before = Set(services.values)
        var claimed: Set<Int> = []
        for service in desired { claimed.insert(try apply(service, besides: claimed)) }
        let wanted = Set(desired.flatMap(\.listeners))
        for (address, _) in services where !wanted.contains(address) {
            services[address] = nil
            for (key, _) in address.keys { try stopListening(key) }
            if !services.keys.contains(where: { $0.vip == address.vip }), let key = vipKey(address.vip) {
                try stopListening(key)
            }
        }
        for index in before.subtracting(claimed) { try remove(index) }
        writeFilter(vips: Set(wanted.map(\.vip)))
    }

    /// Updates present services. A refused service does not keep the others from their update. The first error is
    /// thrown at the end.
    public func update(_ services: [VirtualService]) throws(BPFError) {
        defer { destinations = nil }
        var failure: BPFError?
        for service in services {
            do { _ = try apply(service, besides: []) } catch { failure = failure ?? error }
        }
        if let failure { throw failure }
    }

    /// Throws ENOSPC where rows are lacking, before anything has changed, so that no reload is half done.
    private func requireRoom(for desired: [VirtualService]) throws(BPFError) {
        func refusal() -> BPFError? {
            let demand = heldRows.demand(of: desired)
            return demand.services.refusal(most: maps.services.count - 1)
                ?? demand.servers.refusal(most: maps.servers.count - 1)
        }
        guard refusal() != nil else { return }
        // Rows at rest may suffice once they are free.
        RowAllocator.waitForGrace()
        if let refusal = refusal() { throw refusal }
    }

    private func refuse(_ service: VirtualService) throws(BPFError) {
        for listener in service.listeners { _ = try listener.vip.inMaps() }
        for server in service.servers { _ = try server.address.inMaps() }
        guard service.servers.count <= TableLimits.serversOfAService else {
            throw BPFError(
                "add service \(service.address) with \(service.servers.count) real servers: "
                    + "\(TableLimits.serversOfAService) are the most", code: ENOSPC)
        }
        if service.scheduler.comparesServers, service.servers.count > Self.maximumServersOfAService {
            throw BPFError(
                "add service \(service.address): \(service.scheduler.rawValue) compares "
                    + "\(Self.maximumServersOfAService) real servers at most", code: E2BIG)
        }
    }

    /// Writes a service, and returns its row. After an error the rows that were taken for it are free again.
    private func apply(_ service: VirtualService, besides claimed: Set<Int>) throws(BPFError) -> Int {
        try refuse(service)
        let keys = service.listeners.flatMap(\.keys).map(\.key)
        var destinations: [UInt16] = []
        for key in keys { destinations.append(try destination(of: key)) }
        let existing = services.row(of: service, besides: claimed)
        guard let index = existing ?? serviceRows.allocate() else {
            throw BPFError("add service \(service.address): all \(maps.services.count - 1) are in use", code: ENOSPC)
        }
        if existing == nil { maps.services[index] = ipvsd_service() }
        let present = serverIDs.ofService(index)
        do {
            // The rows come before the slots that name them.
            var ids: [UInt16] = []
            for (server, weight) in zip(service.servers, service.schedulerWeights) {
                ids.append(UInt16(try write(server, weight: weight, service: index)))
            }
            try schedulerTables.replace(
                service, index: index, ids: ids, members: serverIDs.ofService(index).values)
        } catch {
            for (address, id) in serverIDs.ofService(index) where present[address] == nil {
                release(server: id, address, service: index)
            }
            if existing == nil { serviceRows.release(index) }
            throw error
        }
        setPersistence(service.persistence, index: index)
        let named = Set(service.servers.compactMap(\.address.v4))
        for (address, id) in serverIDs.ofService(index) where !named.contains(address) {
            writeWord(id, weight: 0, flags: IPVSD_SERVER_USED | IPVSD_SERVER_REMOVED)
        }
        var numbers = destinations[...]
        primaryAddresses[index] = service.address
        for listener in service.listeners {
            // `services` gets the listener first, so that a refused one is removed with the others.
            services[listener] = index
            for (key, transport) in listener.keys {
                let value = ipvsd_listener_value(
                    service: UInt16(index), former: 0, destination: numbers.removeFirst(),
                    flags: service.flags(ofListener: listener, transport: transport))
                try listen(value, for: key)
            }
            if let key = vipKey(listener.vip) { try listen(ipvsd_listener_value(), for: key) }
        }
        return index
    }

    private func setPersistence(_ persistence: Persistence?, index: Int) {
        let ticks = persistence.map { Self.ticks(seconds: $0.timeout) } ?? 0
        let netmask = (persistence?.netmask ?? .max).bigEndian
        clinux_store_u64(
            maps.services.field(\.persistence, of: index), ipvsd_persistence_word(ticks, netmask))
    }

    /// Returns the destination in the keys of the listener's flows.
    private func destination(of key: ipvsd_listener_key) throws(BPFError) -> UInt16 {
        if let value = try maps.listeners.value(for: key) { return value.destination }
        var destinations = if let destinations { destinations } else { try Destinations(of: maps) }
        let number = try destinations.number(of: key, in: maps)
        self.destinations = destinations
        return number
    }

    /// Writes a listener to the map, and then to the cache. `stopListening` removes it in the reverse order. A daemon
    /// that adopts the maps knows the listeners of the map, and removes or rewrites them.
    private func listen(_ value: ipvsd_listener_value, for key: ipvsd_listener_key) throws(BPFError) {
        try maps.listeners.update(value, for: key)
        maps.listenerCache.set(value, for: key)
    }

    private func stopListening(_ key: ipvsd_listener_key) throws(BPFError) {
        maps.listenerCache.remove(key)
        try maps.listeners.remove(key)
    }

    private func write(_ server: RealServer, weight: UInt16, service: Int) throws(BPFError) -> Int {
        let flags = server.flags
        let address = try server.address.inMaps()
        if let id = serverIDs[service, address] {
            idleSince[id] = nil
            maps.servers.field(\.configured_weight, of: id).pointee = server.weight
            maps.writeThresholds(server.thresholds, of: id)
            writeWord(id, weight: weight, flags: flags)
            return id
        }
        guard let id = serverRows.allocate() else {
            throw BPFError("add real server \(address): all \(maps.servers.count - 1) are in use", code: ENOSPC)
        }
        do { try maps.statistics.clear(UInt32(id)) } catch {
            serverRows.release(id)
            throw error
        }
        maps.carried[id] = ipvsd_statistics()
        maps.connectionCounts[id] = ipvsd_conn_counts()
        maps.servers[id] = ipvsd_server(
            next_hop: UInt32(pathTable.rows[address] ?? 0), weight: weight, flags: UInt16(flags),
            address: address.bigEndian, service: UInt16(service), configured_weight: server.weight,
            upper_threshold: server.thresholds?.upper ?? 0,
            lower_threshold: server.thresholds?.effectiveLower ?? 0, overloaded: 0, joined: 0)
        serverIDs[service, address] = id
        return id
    }

    /// Stores the row of the path, the weight and the flags of a real server at once. `path` nil keeps the present one.
    func writeWord(_ id: Int, path: UInt32? = nil, weight: UInt16, flags: UInt32) {
        let path = path ?? maps.servers[id].next_hop
        downSince[id] = flags & UInt32(IPVSD_SERVER_DOWN) == 0 ? nil : downSince[id] ?? .now
        clinux_store_u64(maps.servers.field(\.next_hop, of: id), ipvsd_server_word(path, weight, UInt16(flags)))
    }

    private func remove(_ index: Int) throws(BPFError) {
        primaryAddresses[index] = nil
        for key in try maps.learntPorts.keys() where Int(key.id) == index { try maps.learntPorts.remove(key) }
        schedulerTables.remove(index: index)
        for id in serverIDs.ofService(index).values {
            writeWord(id, weight: 0, flags: IPVSD_SERVER_USED | IPVSD_SERVER_REMOVED)
        }
    }

    /// Releases the row of a real server to which no packets go.
    func release(server id: Int, _ address: IPv4Address, service: Int) {
        writeWord(id, path: 0, weight: 0, flags: 0)
        maps.clearLocality(ofServer: id, service: service)
        try? setAnsweredPorts([], of: UInt32(id))
        serverRows.release(id)
        serverIDs[service, address] = nil
    }

    private func writeFilter(vips: Set<IPAddress>) {
        var words = [UInt64](repeating: 0, count: Int(IPVSD_FILTER_WORDS))
        for vip in vips.compactMap(\.v4) { ipvsd_filter_set(&words, vip.bigEndian) }
        let filter = maps.settings.field(\.vip_filter, as: UInt64.self)
        for (index, word) in words.enumerated() { clinux_store_u64(filter + index, word) }
    }

    private func vipKey(_ vip: IPAddress) -> ipvsd_listener_key? {
        vip.v4.map { ipvsd_listener_key(vip: $0.bigEndian, port: 0, protocol: 0, reserved: 0) }
    }
}
