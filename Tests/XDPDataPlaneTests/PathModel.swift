import Addresses
import LoadBalancing
import Netlink

@testable import XDPDataPlane

/// A model of the packet program by its rules, with dictionaries for maps and without BPF. It predicts the end and the
/// records of each packet. The control plane gives the numbers of services, listeners and real servers.
struct PathModel {
    typealias State = FlowTableModel.State
    typealias Identity = FlowTableModel.Identity

    struct ListenerKey: Hashable {
        var vip: IPv4Address
        /// The port. 0 means every port.
        var port: UInt16
        var transport: TransportProtocol
    }

    struct Listener: Hashable {
        var service: Int
        var flowID: UInt16
        var isAnyPort: Bool
        var isOnePacket: Bool
        /// Whether flows of datagrams may finish at a removed real server, for one time-out.
        var finishes: Bool
    }

    struct Service {
        var desired: VirtualService
        var scheduler: SchedulerModel
        /// The ids of the real servers' rows, by number.
        var ids: [UInt8: UInt32] = [:]
        /// The Maglev table, whose slots have numbers of real servers.
        var maglev: [UInt8] = []
        var sourceHash: [UInt8?] = []

        /// Whether every director makes the same choice for a client.
        var isHashBased: Bool {
            switch desired.scheduler {
            case .mh: true
            case .sh: desired.servers.contains { $0.effective.weight > 0 }
            default: false
            }
        }
    }

    struct Server {
        var service: Int
        var number: UInt8
        var isDown = false
        /// Whether the server is removed or in standby.
        var isRemoved = false
        var movesPersistent = false
        var movesDatagrams = false
        /// The number of SYNs since the last completed handshake. `completed` is the tick of that handshake.
        var unanswered: UInt32 = 0
        var completed: UInt32 = 0
        var connections: UInt64 = 0
        var packets: UInt64 = 0
        var bytes: UInt64 = 0
    }

    struct TemplateKey: Hashable {
        var service: Int
        var client: IPv4Address
    }

    struct Template {
        var server: UInt32
        var stamp: UInt32
    }

    /// The kind of a packet, by which a client moves away from a drained real server. Clients of servers that are down
    /// always move.
    enum Departure {
        case none, connections, datagrams
    }

    struct Datagram: Hashable {
        var source: IPv4Address
        var destination: IPv4Address
        var id: UInt16
        var protocolNumber: UInt8
    }

    struct Fragments {
        /// The real server to which later fragments go. Nil means the director's own stack.
        var server: UInt32?
        var stamp: UInt32
    }

    struct Settings {
        var ingressMTU = 1500
        var halfOpenLimit = 0
        var silentAfter: UInt32 = 0
        /// The MAC address of the peer to which packets go that are too big and may be fragmented.
        var fragmentingPeer: MACAddress?
        var answersByRedirect = false
        /// Whether any reply is allowed.
        var mayAnswer = true
        /// The director's MAC addresses. Nil means that all frames are for the director.
        var ownMACs: [MACAddress]?
        var outerSources: IPv4Prefix?
    }

    var settings = Settings()
    var listeners: [ListenerKey: Listener] = [:]
    var vips: Set<IPv4Address> = []
    var services: [Int: Service] = [:]
    var servers: [UInt32: Server] = [:]
    var paths: [IPv4Address: Path] = [:]
    var flows: FlowTableModel
    var templates: [TemplateKey: Template] = [:]
    /// The templates of proven clients.
    var confirmedTemplates: [TemplateKey: Template] = [:]
    var mostConfirmedTemplates = Int.max
    /// The tick at which a confirmed template last found no room.
    var templatesFull: UInt32?
    var fragments: [Datagram: Fragments] = [:]
    var learntPorts: [Int: Set<UInt16>] = [:]
    var halfOpen = 0
    /// The tick at which the limit of half-open connections was last reached.
    var flooded: UInt32?

    var now: UInt32 = 0
    /// The increments of the counters by the last packet, by the counters' numbers.
    var moved: [UInt64] = []
    /// The first and second bucket of the last packet's flow.
    var touched: Set<Int> = []

    init(seed: UInt64, bucketCount: Int) { flows = FlowTableModel(seed: seed, bucketCount: bucketCount) }

    var shortNow: UInt16 { UInt16(truncatingIfNeeded: now) }

    // MARK: Configuration

    /// Sets a service. If `isNew` is true, the service's row has no history.
    mutating func configure(_ desired: VirtualService, row: Int, isNew: Bool, ids: [UInt8: UInt32]) {
        let servers = desired.servers
        let size = desired.maglevSize ?? MaglevTable.size(forServers: servers.count)
        var service =
            (isNew ? nil : services[row])
            ?? Service(
                desired: desired,
                scheduler: SchedulerModel(
                    desired.scheduler, desired.flags, vip: desired.address.ipv4, maglevSize: size))
        service.desired = desired
        service.ids = ids
        let numbers = servers.map { UInt8(truncatingIfNeeded: $0.address.ipv4.value) }
        service.scheduler.configure(
            zip(servers, numbers).map { server, number in
                SchedulerModel.Server(
                    number: number, weight: server.weight, isDown: server.effective.standing != .listed,
                    thresholds: server.thresholds)
            })
        let ignoresWeight = desired.scheduler == .rr || desired.scheduler == .lc
        service.maglev = MaglevTable.build(
            members: servers.map {
                (
                    key: UInt64($0.address.ipv4.value),
                    weight: ignoresWeight ? min(Int($0.effective.weight), 1) : Int($0.effective.weight)
                )
            }, size: size
        ).map { numbers[Int($0)] }
        let present = servers.indices.filter { servers[$0].effective.standing == .listed }
        service.sourceHash = SourceHash.buckets(weights: present.map { Int(servers[$0].effective.weight) }).map {
            $0.map { numbers[present[$0]] }
        }
        services[row] = service
        for (server, number) in zip(servers, numbers) {
            guard let id = ids[number] else { continue }
            var row = self.servers[id] ?? Server(service: row, number: number)
            row.isDown = server.effective == .down
            row.isRemoved = server.effective == .standby
            row.movesPersistent = server.movesPersistent
            row.movesDatagrams = server.movesDatagrams
            self.servers[id] = row
        }
        for (id, server) in self.servers where server.service == row && ids[server.number] != id { remove(id) }
    }

    /// Removes a server from the configuration. Its TCP connections go on.
    mutating func remove(_ id: UInt32) {
        servers[id]?.isRemoved = true
        servers[id]?.isDown = false
    }

    mutating func forget(_ id: UInt32) {
        guard let server = servers.removeValue(forKey: id) else { return }
        services[server.service]?.scheduler.forget(server.number)
    }

    // MARK: Time

    /// Frees expired flows, and half-open flows of servers that are down.
    mutating func sweep(now: UInt32) {
        self.now = now
        for place in flows.places {
            guard let entry = flows[place] else { continue }
            let isAbandoned =
                entry.state == .synReceived && entry.age(shortNow) >= 4 && servers[entry.server]?.isDown ?? false
            if flows.isExpired(entry, now: shortNow) || isAbandoned { put(nil, at: place) }
        }
    }

    /// Frees invalid confirmed templates.
    mutating func sweepTemplates(persistence: (_ row: Int) -> UInt32) {
        let before = confirmedTemplates.count
        confirmedTemplates = confirmedTemplates.filter { key, template in
            let ticks = persistence(key.service)
            return ticks > 0 && Int32(bitPattern: now &- template.stamp) <= Int32(ticks)
                && servers[template.server]?.service == key.service
        }
        if confirmedTemplates.count < before { templatesFull = nil }
    }

    // MARK: Connections

    /// Writes an entry, or frees its place for nil, and adjusts the counts.
    mutating func put(_ entry: FlowTableModel.Entry?, at place: FlowTableModel.Place) {
        if let old = flows[place], let entry, old.server == entry.server, old.identity == entry.identity {
            let active = (entry.state.isActive ? 1 : 0) - (old.state.isActive ? 1 : 0)
            adjust(entry.server, active: active, inactive: -active)
        } else {
            if let old = flows[place] {
                adjust(old.server, active: old.state.isActive ? -1 : 0, inactive: old.state.isActive ? 0 : -1)
            }
            if let entry {
                adjust(entry.server, active: entry.state.isActive ? 1 : 0, inactive: entry.state.isActive ? 0 : 1)
            }
        }
        halfOpen += (entry?.state == .synReceived ? 1 : 0) - (flows[place]?.state == .synReceived ? 1 : 0)
        flows[place] = entry
    }

    private mutating func adjust(_ id: UInt32, active: Int, inactive: Int) {
        guard let server = servers[id] else { return }
        services[server.service]?.scheduler.adjust(server.number, active: active, inactive: inactive)
    }

    func counts(of id: UInt32) -> SchedulerModel.Counts? {
        servers[id].flatMap { server in services[server.service]?.scheduler.counts[Int(server.number)] }
    }
}
