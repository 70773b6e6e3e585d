import Addresses
import BPF
import Glibc
import LoadBalancing
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// Explanations of packets, compared with the packets' ends.
@MainActor
@Suite(.serialized, .needsRoot)
struct ExplanationTests {
    private let lab: Lab
    private static let web = ServiceAddress(vip: Standard.main, port: 80, transport: .tcp)

    init() throws {
        lab = try withPinDirectory { try Lab(directory: $0, capacity: .small) }
        lab.stretchTimeouts()
    }

    private func service(
        _ scheduler: Scheduler, _ address: ServiceAddress = web, _ adjust: (inout VirtualService) -> Void = { _ in }
    ) -> VirtualService {
        var service = VirtualService(
            address: address, scheduler: scheduler, maglevSize: 251,
            servers: [Standard.realServer(1, weight: 3), Standard.realServer(2, weight: 2), Standard.realServer(3)])
        adjust(&service)
        return service
    }

    private func apply(_ service: VirtualService, _ paths: [Path] = (1...4).map { Standard.path($0) }) throws {
        try lab.apply(Configuration(services: [service], paths: paths))
    }

    private func flow(_ number: Int, _ transport: TransportProtocol = .tcp) -> FlowKey {
        FlowKey(
            client: IPv4Address(0x0B00_0000 + UInt32(number) &* 2_654_435 % 0x10_0000),
            clientPort: UInt16(1024 + number % 50000), vip: Standard.main, port: 80, transport: transport)
    }

    private func open(_ flow: FlowKey) throws {
        try lab.expectExplained(flow.packet([.syn]))
        try lab.expectExplained(flow.packet([.ack]))
    }

    // MARK: Schedulers

    nonisolated private static let flags: [Scheduler: [Set<SchedulerFlag>]] = [
        .sh: [[], [.shPort], [.shFallback], [.shPort, .shFallback]], .mh: [[], [.mhPort, .mhFallback]],
    ]

    /// Sends new connections and later packets, also of unknown connections, while servers fill up, fail and are
    /// drained.
    @Test("explanations agree with each scheduler", arguments: Scheduler.allCases) func schedulers(
        _ scheduler: Scheduler
    ) throws {
        for flags in Self.flags[scheduler] ?? [[]] {
            var desired = service(scheduler) {
                $0.flags = flags
                $0.servers.append(
                    RealServer(
                        address: Standard.server(4), weight: 2, thresholds: ConnectionThresholds(upper: 6)))
            }
            try apply(desired)
            var chosen: Set<IPv4Address> = []
            for number in 0..<20 {
                let decision = try lab.expectExplained(flow(number).packet([.syn]))
                if let server = decision.server { chosen.insert(server) }
                // If the chosen server is full, some schedulers refuse the connection rather than choose another
                // server.
                #expect(decision.choices.count == 1)
                #expect(decision.recording == (decision.server == nil ? nil : .recorded))
                if number % 3 == 0 { try lab.expectExplained(flow(number).packet([.ack])) }
                if number % 7 == 0 { try lab.expectExplained(flow(number).packet([.fin, .ack], payload: 20)) }
                if number % 5 == 0 { try lab.expectExplained(flow(number + 1000).packet([.ack], payload: 9)) }
            }
            if scheduler != .dh && scheduler != .lblc && scheduler != .fo { #expect(chosen.count > 1) }
            desired.effective = [.v4(Standard.server(1)): .down, .v4(Standard.server(2)): .listed(weight: 0)]
            try apply(desired)
            for number in 14..<26 {
                let decision = try lab.expectExplained(flow(number).packet([.syn]))
                #expect(decision.server != Standard.server(1))
            }
            desired.effective[.v4(Standard.server(3))] = .listed(weight: 1, tenths: 3)
            try apply(desired)
            for number in 40..<46 { try lab.expectExplained(flow(number).packet([.syn])) }
            desired.effective = Dictionary(uniqueKeysWithValues: (1...4).map { (.v4(Standard.server($0)), .down) })
            try apply(desired)
            let decision = try lab.expectExplained(flow(99).packet([.syn]))
            #expect(decision.reason == "answered-no-server")
            #expect(decision.server == nil)
            try lab.apply(Configuration(services: [], paths: []))
            lab.forgetFlows()
        }
    }

    @Test("the candidates are the service's real servers") func candidatesAreThoseOfTheService() throws {
        try apply(service(.wlc))
        for number in 0..<12 { try open(flow(number)) }
        let decision = try lab.expectExplained(flow(12).packet([.syn]))
        #expect(decision.candidates.map(\.server) == (1...3).map { Standard.server($0) })
        #expect(decision.candidates.map(\.active) == [6, 4, 2])
        #expect(decision.candidates.map(\.schedulerWeight) == [3, 2, 1])
        #expect(decision.service?.scheduler == .wlc)
        #expect(decision.service?.listener == Self.web)
        #expect(decision.choices.first?.choice.method == .comparison)
    }

    @Test("lc compares by weights during a slow start") func slowStart() throws {
        var desired = service(.lc)
        try apply(desired)
        #expect(try lab.expectExplained(flow(1).packet([.syn])).service?.comparesBy == .lc)
        desired.effective = [.v4(Standard.server(1)): .listed(weight: 3, tenths: 4)]
        try apply(desired)
        let decision = try lab.expectExplained(flow(2).packet([.syn]))
        #expect(decision.service?.scheduler == .lc)
        #expect(decision.service?.comparesBy == .wlc)
        #expect(decision.candidates.map(\.schedulerWeight) == [4, 10, 10])
    }

    // MARK: Connections

    @Test("a connection is explained with its age") func aConnectionIsToldWithItsAge() throws {
        try apply(service(.rr))
        try open(flow(1))
        try lab.age(flow(1), by: 100)
        let decision = try lab.expectExplained(flow(1).packet([.ack], payload: 5))
        let connection = try #require(decision.connection)
        #expect(connection.state == .established)
        #expect(connection.isBare)
        #expect(connection.fate == .kept)
        #expect(connection.serverStanding == .up)
        #expect(abs(connection.idle - 100 * 0.268) < 1)
        #expect(connection.remaining > 8000)
        #expect(decision.recording == nil)
        #expect(decision.choices.isEmpty)
        #expect(decision.server == connection.server)
        let stranger = try lab.expectExplained(flow(2).packet([.ack]))
        #expect(stranger.reason == "answered-no-connection")
        #expect(stranger.connection == nil)
        try lab.expectExplained(flow(2).packet([.rst]))
    }

    @Test("the fate of a connection to a lost server is explained", arguments: ServerLoss.allCases) func aServerIsLost(
        _ loss: ServerLoss
    ) throws {
        var desired = service(.rr) { $0.onServerLoss = loss }
        try apply(desired)
        for number in 0..<6 { try open(flow(number)) }
        desired.effective = [.v4(Standard.server(1)): .down]
        try apply(desired)
        var fates: Set<PacketDecision.Connection.Fate> = []
        for number in 0..<6 {
            let decision = try lab.expectExplained(flow(number).packet(number % 2 == 0 ? [.ack] : [.rst]))
            if let fate = decision.connection?.fate { fates.insert(fate) }
            try lab.expectExplained(flow(number).packet([.syn]))
        }
        let expected: [ServerLoss: PacketDecision.Connection.Fate] = [.reset: .reset, .rehash: .serverLost]
        #expect(fates.contains(expected[loss] ?? .kept))
    }

    @Test("a SYN that reuses ports is explained") func portsAreUsedAgain() throws {
        try apply(service(.rr))
        try open(flow(1))
        try lab.expectExplained(flow(1).packet([.fin, .ack]))
        let decision = try lab.expectExplained(flow(1).packet([.syn]))
        #expect(decision.connection?.fate == .reusedPorts)
        #expect(decision.recording == .renewed)
    }

    @Test("a connection to a removed server is explained") func aServerIsRemoved() throws {
        try apply(service(.rr))
        for number in 0..<3 { try open(flow(number)) }
        try apply(service(.rr) { $0.servers.removeFirst() })
        var removed = 0
        for number in 0..<3 {
            let decision = try lab.expectExplained(flow(number).packet([.ack]))
            if decision.connection?.serverStanding == .removed { removed += 1 }
            try lab.expectExplained(flow(number).packet([.syn]))
        }
        #expect(removed == 1)
    }

    @Test("a repeated SYN to a silent server is explained") func aServerIsSilent() throws {
        try apply(service(.fo))
        lab.plane.setSilentAfter(3)
        for _ in 0..<3 { try lab.expectExplained(flow(1).packet([.syn])) }
        let id = try lab.serverID(Self.web, Standard.server(1))
        lab.plane.maps.connectionCounts[Int(id)].completed = UInt32(try lab.now &- 50)
        let decision = try lab.expectExplained(flow(1).packet([.syn]))
        // fo chooses the same server again. The Maglev table has another server for the client, or none.
        #expect(decision.connection?.fate == .serverSilent || decision.events.isEmpty)
        for number in 2..<12 {
            try lab.expectExplained(flow(number).packet([.syn]))
            try lab.expectExplained(flow(number).packet([.syn]))
        }
        let totals = try lab.plane.maps.counterTotals()
        #expect((totals["rescheduled-from-silent-server"] ?? 0) > 0)
    }

    @Test("datagrams are explained", arguments: [false, true]) func datagrams(_ isOnePacket: Bool) throws {
        let dns = ServiceAddress(vip: Standard.main, port: 80, transport: .udp)
        var desired = service(.wrr, dns) { $0.isOnePacket = isOnePacket }
        try apply(desired)
        for number in 0..<10 { for _ in 0..<2 { try lab.expectExplained(flow(number, .udp).packet()) } }
        desired.effective = [.v4(Standard.server(1)): .down]
        try apply(desired)
        for number in 0..<10 {
            let decision = try lab.expectExplained(flow(number, .udp).packet())
            #expect(decision.server != Standard.server(1))
        }
    }

    @Test("datagrams of departed servers are explained", arguments: ServerRemoval.allCases, [false, true])
    func datagramsOfServersThatAreLeft(_ removal: ServerRemoval, _ isPersistent: Bool) throws {
        let dns = ServiceAddress(vip: Standard.main, port: 80, transport: .udp)
        let kept = Standard.server(4)
        var desired = service(.rr, dns) {
            $0.onServerRemoval = removal
            $0.persistence = isPersistent ? Persistence(timeout: 300) : nil
            $0.servers.append(Standard.realServer(4))
        }
        try apply(desired)
        for number in 0..<12 { for _ in 0..<2 { try lab.expectExplained(flow(number, .udp).packet()) } }
        // Server 1 was removed, server 2 is in standby, and the wait for the drain of server 3 has ended.
        desired.servers.removeFirst()
        desired.effective = [.v4(Standard.server(2)): .standby, .v4(Standard.server(3)): .listed(weight: 0)]
        desired.change(.v4(Standard.server(3))) { $0.movesDatagrams = true }
        try apply(desired)
        var standings: Set<PacketDecision.Connection.ServerStanding> = []
        for number in 0..<12 {
            let decision = try lab.expectExplained(flow(number, .udp).packet())
            let connection = try #require(decision.connection)
            standings.insert(connection.serverStanding)
            let isLeft = connection.server != kept
            #expect(connection.fate == (isLeft ? removal == .move ? .serverLost : .finishing : .kept))
            #expect(decision.server == (removal == .move ? kept : connection.server))
            // A new flow of the same client goes to the remaining server.
            var other = flow(number, .udp)
            other.clientPort = 60000
            #expect(try lab.expectExplained(other.packet()).server == kept)
        }
        #expect(standings == [.removed, .standby, .drained, .up])
    }

    @Test("a packet to an any-port service is explained") func anyPort() throws {
        try apply(service(.wlc, ServiceAddress(vip: Standard.main)))
        for number in 0..<5 {
            let decision = try lab.expectExplained(flow(number).packet([.syn]))
            #expect(decision.service?.listener == ServiceAddress(vip: Standard.main))
            try lab.expectExplained(flow(number, .udp).packet())
            try lab.expectExplained(flow(number).packet([.ack]))
        }
    }

    // MARK: Persistence

    @Test("the template of a persistent client is explained", arguments: [32, 24]) func persistence(_ prefixLength: Int)
        throws
    {
        var desired = service(.rr) { $0.persistence = Persistence(timeout: 300, prefixLength: prefixLength) }
        try apply(desired)
        let clients = (0..<6).map { flow(37 * $0) }
        for client in clients { try open(client) }
        func again(_ port: UInt16) throws -> [PacketDecision] {
            try clients.map {
                var flow = $0
                flow.clientPort = port
                flow.client.value ^= prefixLength == 24 ? 1 : 0
                return try lab.expectExplained(flow.packet([.syn]))
            }
        }
        #expect(try again(2000).allSatisfy { $0.template?.standing == .heeded })
        desired.effective = [.v4(Standard.server(1)): .listed(weight: 0)]
        try apply(desired)
        #expect(try again(2001).contains { $0.server == Standard.server(1) })
        desired.change(.v4(Standard.server(1))) { $0.movesPersistent = true }
        try apply(desired)
        #expect(try again(2002).contains { $0.template?.standing == .serverMoves })
        desired.effective = [.v4(Standard.server(2)): .down]
        try apply(desired)
        #expect(try again(2003).contains { $0.template?.standing == .serverDown })
        for (key, template) in try lab.plane.maps.templates.entries() {
            try lab.plane.maps.templates.update(
                ipvsd_template(server: template.server, stamp: template.stamp &- 2000), for: key)
        }
        #expect(try again(2004).contains { $0.template?.standing == .expired })
    }

    // MARK: Pressure

    @Test("a flood of SYNs is explained") func aFloodIsTold() throws {
        try apply(service(.rr))
        lab.plane.setHalfOpenLimit(10)
        for number in 0..<10 { try lab.expectExplained(flow(number).packet([.syn])) }
        for number in 10..<20 {
            let decision = try lab.expectExplained(flow(number).packet([.syn]))
            #expect(decision.events == ["unrecorded-in-flood"])
            #expect(decision.choices.first?.occasion == .flood)
            #expect(try lab.expectExplained(flow(number).packet([.ack])).forgettings == [.flood])
            try lab.expectExplained(flow(number).packet([.ack], payload: 10))
        }
    }

    /// Half-open connections of a full bucket give way to a new one, and established connections do not.
    @Test("a full bucket is explained", arguments: [false, true]) func theTableIsFull(_ areEstablished: Bool) throws {
        try apply(service(.rr))
        lab.plane.setHalfOpenLimit(0)
        for bucket in 0..<lab.plane.maps.flows.count {
            let ways = lab.plane.maps.flows.pointer(bucket).assumingMemoryBound(to: ipvsd_flow.self)
            for way in 0..<Int(IPVSD_WAYS) where way != bucket % 16 {
                let state = areEstablished ? IPVSD_STATE_ESTABLISHED : IPVSD_STATE_SYN_RECV
                ways[way] = ipvsd_flow(
                    key: 1, value: UInt64(try lab.now &- 10) << 48 | 1 << 16 | UInt64(state.rawValue) << 12)
            }
        }
        var recordings: Set<PacketDecision.Recording> = []
        for number in 0..<60 {
            let decision = try lab.expectExplained(flow(number).packet([.syn]))
            if let recording = decision.recording { recordings.insert(recording) }
            try lab.expectExplained(flow(number).packet([.ack]))
        }
        #expect(recordings.contains(.recorded))
        #expect(recordings.contains(areEstablished ? .noRoom : .evicting))
    }

    @Test("flows in the smaller table are found while they are moved") func theTableGrows() throws {
        try withPinDirectory { directory in
            let first = try Lab(directory: directory, capacity: .small)
            first.stretchTimeouts()
            try first.apply(Configuration(services: [service(.rr)], paths: (1...3).map { Standard.path($0) }))
            for number in 0..<20 { try first.send(flow(number).packet([.syn])) }
            var capacity = Capacity.small
            capacity.flowBuckets = 4096
            let second = try Lab(directory: directory, capacity: capacity)
            for map in try #require(second.plane.growth).grown {
                try TableGrowth.publish(map, below: directory)
            }
            let maps = try #require(try DirectorMaps(directory: directory, writable: false))
            #expect(
                maps.isMigrating && maps.flows.count == 4096 && maps.oldFlows?.count == first.plane.maps.flows.count)
            for number in 0..<40 {
                let frame = flow(number).packet(number % 2 == 0 ? [.syn] : [.ack]).bytes
                let packet = try #require(ExplainedPacket(frame))
                let decision = try second.plane.decision(on: packet)
                let outcome = try second.run(frame)
                let difference = decision.difference(from: outcome.verdict, outcome.packet, moved: outcome.moved)
                #expect(difference == nil, "flow \(number)")
                #expect(decision.connection?.isInFormerTable == (number < 20 ? true : nil))
            }
        }
    }

    // MARK: Ways

    @Test("paths to real servers are explained") func ways() throws {
        try lab.apply(Standard.configuration)
        for vip in [
            Standard.main, Standard.empty, Standard.quiesced, Standard.unresolved, Standard.unrouted,
            Standard.transmitting, Standard.tagged, Standard.doublyTagged, Standard.taggedTransmitting, Standard.local,
            Standard.down, Standard.strict, address("203.0.113.200"),
        ] {
            for port in [80, 81] as [UInt16] {
                for size in [0, 1000, 1500] {
                    let flow = FlowKey(client: Standard.client, clientPort: 4000, vip: vip, port: port)
                    try lab.expectExplained(flow.packet([.syn], payload: size))
                }
            }
        }
    }

    @Test("a packet that is too big is explained", arguments: [false, true]) func tooBig(_ mayFragment: Bool) throws {
        try lab.apply(Standard.configuration)
        if mayFragment { try lab.plane.setFragmenting(interface: 1, peer: mac(77)) }
        for (vip, size) in [(Standard.narrow, 980), (Standard.narrow, 981), (Standard.taggedTransmitting, 1200)] {
            for fragment in [PacketBuilder.dontFragment, 0] {
                let packet = PacketBuilder.ethernet().ipv4(from: Standard.client, to: vip) { $0.fragment = fragment }
                    .udp(from: 4000, to: 99).payload(size - 28)
                let decision = try lab.expectExplained(packet)
                let reasons =
                    size <= 980 || (fragment == 0 && mayFragment)
                    ? "forwarded" : fragment == 0 ? "dropped-too-big-without-df" : "answered-too-big"
                #expect(decision.reason == reasons)
                #expect(decision.way?.largest == 980)
                #expect(decision.way?.isFragmented == (size > 980 && fragment == 0 && mayFragment))
            }
        }
    }

    @Test("a varied outer source is explained") func theOuterSourceVaries() throws {
        let prefix = try #require(IPv4Prefix(address("172.16.0.0"), length: 16))
        let lab = try withPinDirectory {
            try Lab(directory: $0, capacity: .small, traits: PacketTraits(outerSources: prefix))
        }
        try lab.apply(Configuration(services: [service(.rr)], paths: (1...3).map { Standard.path($0) }))
        var sources: Set<IPv4Address> = []
        for number in 0..<20 {
            let decision = try lab.expectExplained(flow(number).packet([.syn]))
            if let source = decision.way?.source { sources.insert(source) }
        }
        #expect(sources.count > 10)
        #expect(sources.allSatisfy(prefix.contains))
    }

    @Test("impossible sources are explained") func sources() throws {
        try apply(service(.rr))
        for client in ["127.0.0.1", "224.0.0.5", "255.255.255.255", "0.0.0.7", "240.0.0.1", "198.51.100.10"] {
            let flow = FlowKey(client: address(client), clientPort: 4000, vip: Standard.main, port: 80)
            let decision = try lab.expectExplained(flow.packet([.syn]))
            #expect((decision.reason == "dropped-martian-source") == (client != "240.0.0.1"))
        }
    }

    /// Two VIPs would answer each other for ever, so a new connection is dropped. A connection that was recorded before
    /// goes on.
    @Test("another VIP as the source is explained", arguments: [false, true])
    func anotherVIPAsSource(isOnePacket: Bool) throws {
        func datagrams(_ vip: IPv4Address) -> VirtualService {
            service(.rr, ServiceAddress(vip: vip, port: 80, transport: .udp)) { $0.isOnePacket = isOnePacket }
        }
        func packet(from port: UInt16) -> PacketBuilder {
            FlowKey(client: Standard.strict, clientPort: port, vip: Standard.main, port: 80, transport: .udp).packet()
        }
        try apply(datagrams(Standard.main))
        #expect(try lab.expectExplained(packet(from: 80)).verdict == .forwarded)
        try lab.apply(
            Configuration(
                services: [datagrams(Standard.main), datagrams(Standard.strict)],
                paths: (1...4).map { Standard.path($0) }))
        #expect(try lab.expectExplained(packet(from: 80)).verdict == (isOnePacket ? .dropped : .forwarded))
        #expect(try lab.expectExplained(packet(from: 81)).reason == "dropped-martian-source")
        try lab.expectBalance()
    }

    @Test("merged frames are explained") func mergedFrames() throws {
        try apply(service(.rr))
        let decision = try lab.expectExplained(flow(1).packet([.ack], payload: 1461))
        #expect(decision.reason == "dropped-merged-frame")
    }

    @Test("an answer beyond the limit is dropped") func noAnswersAreAllowed() throws {
        let lab = try withPinDirectory {
            try Lab(directory: $0, capacity: .small, repliesPerSecond: 0)
        }
        try lab.apply(Configuration(services: [service(.rr)], paths: []))
        #expect(try lab.expectExplained(flow(1).packet([.ack])).reason == "dropped-reply-limit")
    }

    // MARK: The program

    @Test("the pinned program explains without a daemon, also after growth") func thePinnedProgramExplains() throws {
        try withPinDirectory { directory in
            let packet = try #require(ExplainedPacket(flow(1).packet([.ack]).bytes))
            #expect(try XDPDataPlane.decision(on: packet, below: directory) == nil)
            let first = try Lab(directory: directory, capacity: .small)
            try first.apply(Configuration(services: [service(.rr)], paths: (1...3).map { Standard.path($0) }))
            try first.plane.publish()
            for flags in [.syn, .ack] as [PacketBuilder.TCPFlags] { try first.send(flow(1).packet(flags)) }
            let decision = try #require(try XDPDataPlane.decision(on: packet, below: directory))
            let connection = try #require(decision.connection)
            #expect(decision.verdict == .forwarded)
            #expect(connection.server == decision.server)

            var capacity = Capacity.small
            capacity.flowBuckets = 4096
            let second = try Lab(directory: directory, capacity: capacity)
            // The former program forwards until the new one is published, and so explains until then.
            #expect(try XDPDataPlane.decision(on: packet, below: directory)?.connection?.bucket == connection.bucket)
            try second.plane.publish()
            let after = try #require(try XDPDataPlane.decision(on: packet, below: directory))
            #expect(after.connection?.bucket == second.home(ofKey: try second.key(of: flow(1))).bucket)
            #expect(after.server == decision.server)
            #expect(after.connection?.isInFormerTable == false)
        }
    }

    /// The explanations cover every scheduler's packets, in every state of their flows.
    @Test("ten thousand explanations change no byte of any map") func tenThousandAnswersChangeNothing() throws {
        let schedulers = Scheduler.allCases
        let vips = schedulers.indices.map { IPv4Address(0xC633_6400 + UInt32($0)) }
        let services = zip(schedulers, vips).flatMap { scheduler, vip in
            [TransportProtocol.tcp, .udp].map { transport in
                service(scheduler, ServiceAddress(vip: vip, port: 80, transport: transport)) {
                    $0.persistence = vip.value % 3 == 0 ? Persistence(timeout: 300) : nil
                    $0.isOnePacket = transport == .udp && vip.value % 4 == 0
                    $0.servers[0].thresholds = ConnectionThresholds(upper: 4)
                }
            }
        }
        try lab.apply(Configuration(services: services, paths: (1...2).map { Standard.path($0) }))
        lab.plane.setSilentAfter(2)
        func flow(_ number: Int) -> FlowKey {
            FlowKey(
                client: IPv4Address(0x0B00_0000 + UInt32(number)), clientPort: UInt16(1024 + number),
                vip: vips[number % vips.count], port: 80, transport: number % 2 == 0 ? .tcp : .udp)
        }
        for number in 0..<200 {
            for flags in [[.syn], number % 3 == 0 ? [.ack] : [.syn]] as [PacketBuilder.TCPFlags] {
                try lab.send(flow(number).packet(flags))
            }
        }
        let before = try lab.contents()
        var verdicts: Set<PacketDecision.Verdict> = []
        for number in 0..<10_000 {
            let flow = flow(number % 400)
            let packet = ExplainedPacket(
                client: flow.client, clientPort: flow.clientPort, vip: flow.vip, port: flow.port,
                transport: flow.transport, segment: ExplainedPacket.Segment.allCases[number / 400 % 4],
                length: [60, 1500, 1499][number / 1600 % 3], mayBeFragmented: number % 7 == 0)
            verdicts.insert(try lab.plane.decision(on: packet).verdict)
        }
        #expect(verdicts.isSuperset(of: [.forwarded, .answered, .dropped]))
        let after = try lab.contents()
        #expect(after.filter { before[$0.key] != $0.value }.keys.sorted() == [])
    }
}

extension Capacity {
    /// A capacity of small tables, so that all bytes can be compared before and after each packet.
    fileprivate static let small = {
        var capacity = Capacity(connections: 2048)
        capacity.templates = 4096
        return capacity
    }()
}
