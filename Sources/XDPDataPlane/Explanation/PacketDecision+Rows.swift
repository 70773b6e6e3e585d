internal import Addresses
internal import BPF
internal import LoadBalancing
internal import Netlink
internal import PacketPrograms

/// The parts of a decision that are read from the rows that a trace names.
extension PacketDecision.Service {
    /// Reads the row of the trace's service, whose id must not be 0.
    init(_ packet: ExplainedPacket, _ trace: ipvsd_trace, of maps: DirectorMaps) throws(BPFError) {
        let (row, flags) = (maps.services[Int(trace.service)], trace.service_flags)
        let isPersistent = flags & IPVSD_SERVICE_PERSISTENT != 0
        let scheduler = Scheduler(packedName: row.name)
        var listeners: Set<ServiceAddress> = []
        for (key, value) in try maps.listeners.entries()
        where key.protocol != 0 && UInt32(value.service) == trace.service {
            listeners.insert(ServiceAddress(key: key))
        }
        self.init(
            listener: flags & IPVSD_SERVICE_ANY_PORT != 0
                ? ServiceAddress(vip: .v4(packet.vip))
                : ServiceAddress(vip: .v4(packet.vip), port: packet.port, transport: packet.transport),
            listeners: listeners.sorted {
                ($0.vip, $0.port ?? 0, $0.transport?.number ?? 0) < ($1.vip, $1.port ?? 0, $1.transport?.number ?? 0)
            }, scheduler: scheduler, comparesBy: row.comparesBy,
            schedulerFlags: scheduler.map { SchedulerFlag.flags(of: $0, word: row.schedule) }
                .map { $0.map(\.rawValue).sorted() } ?? [],
            persistence: isPersistent ? XDPDataPlane.seconds(ticks: Int(row.persistence)) : nil,
            persistencePrefixLength: isPersistent ? row.netmask.nonzeroBitCount : nil,
            isOnePacket: flags & IPVSD_SERVICE_ONE_PACKET != 0, onServerLoss: ServerLoss(flags: flags),
            onServerRemoval: flags & IPVSD_SERVICE_FINISHES != 0 ? .finish : .move, index: trace.service)
    }
}

extension ipvsd_service {
    /// The scheduler that compares real servers; nil: none are compared.
    fileprivate var comparesBy: Scheduler? {
        switch ipvsd_slice_scheduler(schedule) {
        case IPVSD_SCHEDULER_TWOS.rawValue: .twos
        case IPVSD_SCHEDULER_LC.rawValue: .lc
        case IPVSD_SCHEDULER_WLC.rawValue: .wlc
        case IPVSD_SCHEDULER_SED.rawValue: .sed
        case IPVSD_SCHEDULER_NQ.rawValue: .nq
        case IPVSD_SCHEDULER_OVF.rawValue: .ovf
        case IPVSD_SCHEDULER_LBLC.rawValue: .lblc
        case IPVSD_SCHEDULER_LBLCR.rawValue: .lblcr
        default: nil
        }
    }
}

extension PacketDecision.Candidate {
    static func all(ofService service: UInt32, of maps: DirectorMaps) -> [Self] {
        let row = maps.services[Int(service)]
        let (places, maglev) = (maps.places(ofSlice: row.schedule), maps.places(ofSlice: row.maglev))
        return maps.usedServers.compactMap { id in
            let (server, counts) = (maps.servers[id], maps.connectionCounts[id])
            guard UInt32(server.service) == service, !server.isRemoved else { return nil }
            return Self(
                server: IPv4Address(bigEndian: server.address), schedulerWeight: server.weight,
                isOverloaded: server.isOverloaded(by: counts), active: counts.active, inactive: counts.inactive,
                slots: places[id] ?? 0, maglevSlots: maglev[id] ?? 0, unanswered: counts.unanswered)
        }
    }
}

extension PacketDecision.Way {
    /// Reads the path; nil where the real server has none.
    init?(of packet: ExplainedPacket, by trace: ipvsd_trace, of maps: DirectorMaps) {
        guard Int(trace.next_hop) < maps.nextHops.count, let path = Path(row: maps.nextHops[Int(trace.next_hop)]) else {
            return nil
        }
        let header = Int(IPVSD_ENCAPSULATION)
        let isVaried = trace.outer_source != 0 && !path.isLocal
        self.init(
            isLocal: path.isLocal, source: isVaried ? IPv4Address(bigEndian: trace.outer_source) : path.source,
            destination: path.destination, dontFragment: !packet.mayBeFragmented, length: packet.length + header,
            mtu: Int(path.mtu), largest: Int(path.mtu) - header, sourceMAC: path.sourceMAC.description,
            nextHopMAC: path.nextHopMAC?.description,
            tags: path.tags.map { "\($0.protocolID == 0x88A8 ? "802.1ad" : "802.1q") \($0.id)" },
            interface: path.interface, canFragment: maps.fragmentingInterface != 0)
    }
}

extension DirectorMaps {
    /// Returns the row of a real server; nil for 0, and for an id outside the table.
    func server(_ id: UInt32) -> ipvsd_server? { id > 0 && id < servers.count ? servers[Int(id)] : nil }

    func address(ofServer id: UInt32) -> IPv4Address? { server(id).map { IPv4Address(bigEndian: $0.address) } }

    /// Returns the number of slots that each real server has in the slice, by the server's id.
    fileprivate func places(ofSlice word: UInt64) -> [Int: Int] {
        let slice = SliceAllocator.Slice(word: word)
        let end = min(slice.first + slice.size, slots.count * Int(IPVSD_SLOT_GROUP))
        return (slice.first..<max(slice.first, end)).reduce(into: [:]) { counts, index in
            counts[Int(slot(index).pointee), default: 0] += 1
        }
    }

    /// The destination MACs of frames for the director. An empty array: all frames are for the director.
    var ownMACs: [MACAddress] {
        let words = settings.field(\.own_mac, as: UInt64.self)
        guard words[0] != 0 else { return [] }
        let present = (0..<Int(IPVSD_OWN_MACS)).compactMap { index -> MACAddress? in
            if ipvsd_mac_is_complement(words[index]) { return nil }
            var bytes = [UInt8](repeating: 0, count: 6)
            ipvsd_mac_bytes(words[index], &bytes)
            return MACAddress(bytes)
        }
        return Set(present).sorted { $0.description < $1.description }
    }
}
