import Addresses
import LoadBalancing
import Netlink
import PacketPrograms

@testable import XDPDataPlane

/// The model's decision on a packet, from its headers to its end.
extension PathModel {
    struct Outcome {
        var verdict: Verdict
        /// The frame that leaves, or nil if none does.
        var frame: [UInt8]?
        /// The increments of the counters, by the counters' numbers.
        var moved: [UInt64]
        /// Whether the outer packet has an identification, in place of which the model has 0.
        var isIdentified = false
    }

    struct Packet {
        var frame: [UInt8]
        var l3: Int
        var headerLength: Int
        var length: Int
        var client: IPv4Address
        var vip: IPv4Address
        var protocolNumber: UInt8
        /// The flags and the offset, as in the IP header.
        var fragment: UInt16
        var clientPort: UInt16 = 0
        var port: UInt16 = 0
        var isICMPError = false

        init(_ frame: [UInt8], l3: Int) {
            self.frame = frame
            self.l3 = l3
            headerLength = Int(frame[l3] & 15) * 4
            length = Int(word16(frame, l3 + 2))
            client = IPv4Address(word32(frame, l3 + 12))
            vip = IPv4Address(word32(frame, l3 + 16))
            protocolNumber = frame[l3 + 9]
            fragment = word16(frame, l3 + 6)
        }

        var l4: Int { l3 + headerLength }
        var room: Int { length - headerLength }
        var isLaterFragment: Bool { fragment & 0x1FFF != 0 }
        var hasMoreFragments: Bool { fragment & PacketBuilder.moreFragments != 0 }
        var mayNotBeFragmented: Bool { fragment & PacketBuilder.dontFragment != 0 }
        var datagram: Datagram {
            Datagram(source: client, destination: vip, id: word16(frame, l3 + 4), protocolNumber: protocolNumber)
        }

        var flags: PacketBuilder.TCPFlags { PacketBuilder.TCPFlags(rawValue: frame[l4 + 13]) }
        var tcpHeaderLength: Int { Int(frame[l4 + 12] >> 4) * 4 }
        var isMartian: Bool {
            [0, 127].contains(client.value >> 24) || client.value >> 28 == 14 || client.value == .max || client == vip
        }
        var carriesData: Bool { room > tcpHeaderLength }
        /// Whether the packet begins a new connection.
        var opens: Bool { flags.intersection([.syn, .ack, .rst]) == .syn }
    }

    enum Decision {
        case server(UInt32)
        case noServer
        case end(Verdict, [UInt8]?)
    }

    mutating func handle(_ frame: [UInt8], now: UInt32) -> Outcome {
        self.now = now
        moved = [UInt64](repeating: 0, count: Int(IPVSD_COUNTERS.rawValue))
        touched = []
        guard let l3 = Self.ipOffset(of: frame), vips.contains(IPv4Address(word32(frame, l3 + 16))), isOurs(frame)
        else { return Outcome(verdict: .pass, frame: frame, moved: moved) }
        count(IPVSD_RECEIVED)
        var packet = Packet(frame, l3: l3)
        let decision = decide(&packet)
        noteFirstFragment(of: packet, decision)
        let (verdict, output) =
            switch decision {
            case .end(let verdict, let frame): (verdict, frame)
            case .noServer: unreachable(packet, code: 3, mtu: 0, IPVSD_ANSWERED_NO_SERVER)
            case .server(let id): forward(packet, to: id)
            }
        let isEncapsulated = moved[Int(IPVSD_FORWARDED.rawValue)] > 0 && verdict != .pass
        return Outcome(
            verdict: verdict, frame: output, moved: moved,
            isIdentified: isEncapsulated && !packet.mayNotBeFragmented)
    }

    mutating func count(_ counter: ipvsd_counter) { moved[Int(counter.rawValue)] += 1 }

    mutating func drop(_ reason: ipvsd_counter) -> Decision {
        count(reason)
        return .end(.drop, nil)
    }

    mutating func pass(_ packet: Packet, _ reason: ipvsd_counter) -> Decision {
        count(reason)
        return .end(.pass, packet.frame)
    }

    /// Returns the offset of the IP packet behind Ethernet and up to two tags, or nil if there is none.
    static func ipOffset(of frame: [UInt8]) -> Int? {
        var offset = 14
        guard frame.count >= offset + 20 else { return nil }
        for _ in 0..<2 where [0x8100, 0x88A8].contains(word16(frame, offset - 2)) {
            offset += 4
            guard frame.count >= offset + 20 else { return nil }
        }
        return word16(frame, offset - 2) == 0x0800 ? offset : nil
    }

    private func isOurs(_ frame: [UInt8]) -> Bool {
        settings.ownMACs.map { $0.contains { $0.bytes == Array(frame[..<6]) } } ?? true
    }

    private func listener(_ vip: IPv4Address, _ port: UInt16, _ protocolNumber: UInt8) -> Listener? {
        guard let transport = TransportProtocol.allCases.first(where: { $0.number == protocolNumber }) else {
            return nil
        }
        return listeners[ListenerKey(vip: vip, port: port, transport: transport)]
            ?? listeners[ListenerKey(vip: vip, port: 0, transport: transport)]
    }

    /// Returns the flow of a frame that has ports and a listener, or nil for any other frame.
    func flow(of frame: [UInt8]) -> Identity? {
        guard let l3 = Self.ipOffset(of: frame) else { return nil }
        let packet = Packet(frame, l3: l3)
        guard packet.headerLength >= 20, frame.count >= packet.l4 + 4, !packet.isLaterFragment,
            let listener = listener(packet.vip, word16(frame, packet.l4 + 2), packet.protocolNumber)
        else { return nil }
        return Identity(
            client: packet.client, clientPort: word16(frame, packet.l4), port: word16(frame, packet.l4 + 2),
            flowID: listener.flowID)
    }

    private mutating func decide(_ packet: inout Packet) -> Decision {
        guard packet.frame[packet.l3] >> 4 == 4, packet.headerLength >= 20, packet.length >= packet.headerLength else {
            return drop(IPVSD_DROPPED_BAD_HEADER)
        }
        guard packet.l3 + packet.length <= packet.frame.count else { return drop(IPVSD_DROPPED_TRUNCATED) }
        guard !packet.isMartian else { return drop(IPVSD_DROPPED_MARTIAN_SOURCE) }
        switch packet.protocolNumber {
        case 6, 17: return packet.isLaterFragment ? onLaterFragment(packet) : onTransport(&packet)
        case 1: return onICMP(&packet)
        default: return pass(packet, IPVSD_PASSED_UNKNOWN_PROTOCOL)
        }
    }

    // MARK: Fragments

    private mutating func onLaterFragment(_ packet: Packet) -> Decision {
        guard let first = fragments[packet.datagram], now &- first.stamp <= UInt32(IPVSD_FRAGMENT_TICKS) else {
            return drop(IPVSD_DROPPED_FRAGMENT)
        }
        return first.server.map { .server($0) } ?? pass(packet, IPVSD_PASSED_NO_SERVICE)
    }

    private mutating func noteFirstFragment(of packet: Packet, _ decision: Decision) {
        guard packet.hasMoreFragments, !packet.isLaterFragment else { return }
        switch decision {
        case .server(let id): fragments[packet.datagram] = Fragments(server: id, stamp: now)
        case .end(.pass, _): fragments[packet.datagram] = Fragments(server: nil, stamp: now)
        default: break
        }
    }

    // MARK: TCP and UDP

    private mutating func onTransport(_ packet: inout Packet) -> Decision {
        guard packet.room >= 8 else { return drop(IPVSD_DROPPED_TRUNCATED) }
        packet.clientPort = word16(packet.frame, packet.l4)
        packet.port = word16(packet.frame, packet.l4 + 2)
        guard let listener = listener(packet.vip, packet.port, packet.protocolNumber) else {
            return pass(packet, IPVSD_PASSED_NO_SERVICE)
        }
        if packet.length > settings.ingressMTU { return drop(IPVSD_DROPPED_MERGED_FRAME) }
        let isTCP = packet.protocolNumber == 6
        if isTCP {
            guard packet.room >= 20 else { return drop(IPVSD_DROPPED_TRUNCATED) }
            guard (20...packet.room).contains(packet.tcpHeaderLength) else { return drop(IPVSD_DROPPED_BAD_HEADER) }
        }
        let flow = Identity(
            client: packet.client, clientPort: packet.clientPort, port: packet.port, flowID: listener.flowID)
        if vips.contains(packet.client), flows.find(flow, now: shortNow) == nil {
            return drop(IPVSD_DROPPED_MARTIAN_SOURCE)
        }
        touched = [flows.bucket(of: flow), flows.secondBucket(of: flow)]
        return isTCP ? onTCP(packet, listener, flow) : onUDP(packet, listener, flow)
    }

    private mutating func onUDP(_ packet: Packet, _ listener: Listener, _ flow: Identity) -> Decision {
        if listener.isOnePacket {
            let id = schedule(listener.service, packet)
            if let id { servers[id]?.connections += 1 }
            return decision(id)
        }
        let place = flows.find(flow, now: shortNow)
        if let place, let entry = flows[place] {
            let holder = servers[entry.server]
            if !(holder?.isDown ?? false) {
                let isLeft = holder?.isRemoved ?? false || holder?.movesDatagrams ?? false
                if !isLeft { keepUp(place, listener, packet.client, .udp, proves: true, .datagrams) }
                if !isLeft || listener.finishes { return .server(entry.server) }
            }
            count(IPVSD_EVENT_RESCHEDULED)
        }
        return begin(packet, listener, flow, over: place, schedule(listener.service, packet), .oneDatagram)
    }

    private mutating func onTCP(_ packet: Packet, _ listener: Listener, _ flow: Identity) -> Decision {
        guard let place = flows.find(flow, now: shortNow), let entry = flows[place] else {
            guard packet.opens else { return onTCPWithoutConnection(packet, listener, flow) }
            if isFlooded { return onSYNInFlood(packet, listener) }
            return open(packet, listener, flow, over: nil, on: schedule(listener.service, packet))
        }
        let holder = servers[entry.server]
        let needsData = services[listener.service]?.desired.persistence != nil
        let next = entry.state.next(packet.flags, carriesData: packet.carriesData, needsData: needsData)
        let isLost = holder?.isDown ?? false
        if packet.opens {
            if entry.state.isClosing || isLost || holder?.isRemoved ?? false {
                count(IPVSD_EVENT_RESCHEDULED)
                return open(packet, listener, flow, over: place, on: schedule(listener.service, packet))
            }
            if entry.state == .synReceived, isSilent(entry.server),
                let other = otherServer(listener.service, packet, besides: entry.server)
            {
                count(IPVSD_EVENT_RESCHEDULED_SILENT)
                return open(packet, listener, flow, over: place, on: other)
            }
        }
        if isLost, !packet.flags.contains(.rst) {
            switch services[listener.service]?.desired.onServerLoss {
            case .reset:
                put(nil, at: place)
                return reset(packet, IPVSD_ANSWERED_SERVER_LOST)
            case .rehash:
                count(IPVSD_EVENT_RESCHEDULED)
                let id = schedule(listener.service, packet)
                return begin(packet, listener, flow, over: place, id, next)
            default: break
            }
        }
        if entry.state == .synReceived, next != .synReceived, next.isActive {
            let tick = UInt32(shortNow)
            servers[entry.server]?.unanswered = 0
            servers[entry.server]?.completed = tick
            if listener.isAnyPort { learntPorts[listener.service, default: []].insert(packet.port) }
        }
        let proves = packet.carriesData && packet.flags.intersection([.ack, .syn, .rst]) == .ack
        keepUp(place, listener, packet.client, next, proves: proves, .connections)
        return .server(entry.server)
    }

    /// Begins a flow by a SYN, and counts the SYN as unanswered at its server.
    private mutating func open(
        _ packet: Packet, _ listener: Listener, _ flow: Identity, over place: FlowTableModel.Place?, on id: UInt32?
    ) -> Decision {
        let decision = begin(packet, listener, flow, over: place, id, .synReceived)
        if case .server(let id) = decision { servers[id]?.unanswered += 1 }
        return decision
    }

    /// Records the flow. If there is no room, the choice that every director makes replaces the scheduler's.
    private mutating func begin(
        _ packet: Packet, _ listener: Listener, _ flow: Identity, over place: FlowTableModel.Place?, _ id: UInt32?,
        _ state: State
    ) -> Decision {
        guard var id else { return .noServer }
        let isRecorded = record(flow, over: place, id, state)
        if !isRecorded {
            count(IPVSD_EVENT_FLOW_TABLE_FULL)
            flows.markOverflow(of: flow, now: shortNow)
            guard let other = rederive(listener.service, packet.client, packet.clientPort) else { return .noServer }
            id = other
        }
        if isRecorded || packet.protocolNumber == 6 { servers[id]?.connections += 1 }
        return .server(id)
    }

    private mutating func onTCPWithoutConnection(_ packet: Packet, _ listener: Listener, _ flow: Identity) -> Decision {
        guard mayBeUnrecorded(listener, flow) else {
            return packet.flags.contains(.rst)
                ? drop(IPVSD_DROPPED_RESET_WITHOUT_CONNECTION) : reset(packet, IPVSD_ANSWERED_NO_CONNECTION)
        }
        guard let id = rederive(listener.service, packet.client, packet.clientPort) else { return .noServer }
        count(IPVSD_EVENT_REDERIVED)
        if packet.carriesData || !isFlooded {
            let state = State.none.next(packet.flags, carriesData: false, needsData: false)
            _ = record(flow, over: nil, id, state)
        }
        return .server(id)
    }

    private mutating func onSYNInFlood(_ packet: Packet, _ listener: Listener) -> Decision {
        flooded = now
        count(IPVSD_EVENT_UNRECORDED)
        let id = rederive(listener.service, packet.client, packet.clientPort)
        if let id { servers[id]?.connections += 1 }
        return decision(id)
    }

    private func decision(_ id: UInt32?) -> Decision { id.map { .server($0) } ?? .noServer }

    // MARK: ICMP

    private mutating func onICMP(_ packet: inout Packet) -> Decision {
        if packet.isLaterFragment || packet.hasMoreFragments { return pass(packet, IPVSD_PASSED_ICMP_OTHER) }
        guard packet.room >= 8 else { return drop(IPVSD_DROPPED_TRUNCATED) }
        if vips.contains(packet.client) { return drop(IPVSD_DROPPED_MARTIAN_SOURCE) }
        switch packet.frame[packet.l4] {
        case 8: return echoReply(packet)
        case 3, 11, 12: return onICMPError(&packet)
        default: return pass(packet, IPVSD_PASSED_ICMP_OTHER)
        }
    }

    /// Handles an ICMP error about a reply, which goes to the reply's server.
    private mutating func onICMPError(_ packet: inout Packet) -> Decision {
        let quoted = packet.l4 + 8, frame = packet.frame
        guard frame.count >= quoted + 20, frame[quoted] >> 4 == 4, frame[quoted] & 15 >= 5,
            word32(frame, quoted + 12) == packet.vip.value
        else { return drop(IPVSD_DROPPED_ICMP_MALFORMED) }
        let transport = frame[quoted + 9], ports = quoted + Int(frame[quoted] & 15) * 4
        guard transport == 6 || transport == 17 else { return pass(packet, IPVSD_PASSED_ICMP_OTHER) }
        guard frame.count >= ports + 8, word16(frame, quoted + 6) & 0x1FFF == 0,
            packet.l3 + packet.length >= ports + 8
        else { return drop(IPVSD_DROPPED_ICMP_MALFORMED) }
        let port = word16(frame, ports), clientPort = word16(frame, ports + 2)
        let client = IPv4Address(word32(frame, quoted + 16))
        guard let listener = listener(packet.vip, port, transport) else { return pass(packet, IPVSD_PASSED_NO_SERVICE) }
        let flow = Identity(client: client, clientPort: clientPort, port: port, flowID: listener.flowID)
        var id = flows.find(flow, now: shortNow).flatMap { flows[$0]?.server }
        if id == nil, mayBeUnrecorded(listener, flow) { id = rederive(listener.service, client, clientPort) }
        guard let id else { return drop(IPVSD_DROPPED_ICMP_WITHOUT_CONNECTION) }
        packet.isICMPError = true
        count(IPVSD_EVENT_ICMP_RELAYED)
        return .server(id)
    }
}
