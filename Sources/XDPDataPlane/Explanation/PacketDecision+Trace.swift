internal import Addresses
internal import BPF
internal import DataPlane
internal import LoadBalancing
internal import Netlink
internal import PacketPrograms

/// The conversion of a trace. The trace has the packet program's decisions, and names rows, which are read from the
/// maps.
extension PacketDecision {
    init(on packet: ExplainedPacket, by trace: ipvsd_trace, of maps: DirectorMaps) throws(BPFError) {
        ingressMTU = Int(maps.settings.field(\.ingress_mtu).pointee)
        ownMACs = maps.ownMACs.map(\.description)
        halfOpen = max(Int(Int32(bitPattern: maps.tableLoad[0].half_open)), 0)
        halfOpenLimit = Int(maps.settings.field(\.half_open_limit).pointee)
        isUnattended = trace.is_unattended != 0
        server = maps.address(ofServer: trace.server)
        if server != nil { way = Way(of: packet, by: trace, of: maps) }
        addCounters(of: trace)
        connection = Connection(trace, of: maps)
        choices = trace.choicesMade.map { Choice($0, of: maps) }
        if choices.contains(where: { $0.occasion == .unknownConnection }) { forgettings = trace.forgettingsFound }
        recording = Recording(trace.recording)
        guard trace.service != 0 else { return }
        service = try Service(packet, trace, of: maps)
        template = Template(packet, trace, of: maps)
        lacksRoomForTemplate = trace.lacks_room_for_template != 0
        candidates = Candidate.all(ofService: trace.service, of: maps)
    }

    /// Adds the packet's end and its events, in the order in which they are counted.
    private mutating func addCounters(of trace: ipvsd_trace) {
        for byte in trace.counted.bigEndianBytes where byte != 0 {
            let counter = PacketCounter.all[Int(byte) - 1]
            switch counter.group {
            case .received: continue
            case .event:
                events.append(counter.name)
                continue
            case .forwarded: verdict = .forwarded
            case .passed: verdict = .passed
            case .answered: verdict = .answered
            case .dropped: verdict = .dropped
            }
            reason = counter.name
        }
        way?.isFragmented = events.contains(PacketCounter.all[Int(IPVSD_EVENT_FRAGMENTED.rawValue)].name)
    }
}

extension PacketDecision.Choice {
    fileprivate init(_ choice: ipvsd_choice, of maps: DirectorMaps) {
        let occasion: Occasion =
            switch UInt32(choice.occasion) {
            case IPVSD_OCCASION_ONE_PACKET.rawValue: .onePacket
            case IPVSD_OCCASION_REUSED_PORTS.rawValue: .reusedPorts
            case IPVSD_OCCASION_SERVER_LOST.rawValue: .serverLost
            case IPVSD_OCCASION_SERVER_SILENT.rawValue: .serverSilent
            case IPVSD_OCCASION_UNKNOWN_CONNECTION.rawValue: .unknownConnection
            case IPVSD_OCCASION_FLOOD.rawValue: .flood
            case IPVSD_OCCASION_NO_ROOM.rawValue: .noRoom
            default: .newConnection
            }
        self.init(occasion: occasion, choice: ServerChoice(choice, of: maps))
    }
}

extension PacketDecision.Recording {
    /// `recording`: enum ipvsd_recording.
    fileprivate init?(_ recording: UInt8) {
        switch UInt32(recording) {
        case IPVSD_RECORDING_NONE.rawValue: self = .none
        case IPVSD_RECORDING_RECORDED.rawValue: self = .recorded
        case IPVSD_RECORDING_RENEWED.rawValue: self = .renewed
        case IPVSD_RECORDING_EVICTING.rawValue: self = .evicting
        case IPVSD_RECORDING_NO_ROOM.rawValue: self = .noRoom
        default: return nil
        }
    }
}

extension PacketDecision.Connection.Fate {
    /// `fate`: enum ipvsd_fate.
    fileprivate init(_ fate: UInt8) {
        switch UInt32(fate) {
        case IPVSD_FATE_REUSED_PORTS.rawValue: self = .reusedPorts
        case IPVSD_FATE_SERVER_LOST.rawValue: self = .serverLost
        case IPVSD_FATE_SERVER_SILENT.rawValue: self = .serverSilent
        case IPVSD_FATE_FINISHING.rawValue: self = .finishing
        case IPVSD_FATE_RESET.rawValue: self = .reset
        default: self = .kept
        }
    }
}

extension PacketDecision.Connection {
    /// Reads the connection; nil where the packet finds none.
    fileprivate init?(_ trace: ipvsd_trace, of maps: DirectorMaps) {
        let (value, raw) = (trace.flow_value, ipvsd_flow_state(trace.flow_value))
        guard value != 0, let state = Flow.State(rawState: Int(raw)) else { return nil }
        let age = Int(ipvsd_stamp_age(ipvsd_flow_stamp(value), UInt16(truncatingIfNeeded: trace.tick)))
        let place = UInt32(trace.flow_place)
        self.init(
            state: state, isBare: [IPVSD_STATE_BARE_ACK, IPVSD_STATE_ONE_DATAGRAM].contains { $0.rawValue == raw },
            server: maps.address(ofServer: ipvsd_flow_server(value)),
            serverStanding: ServerStanding(of: maps.server(ipvsd_flow_server(value))),
            idle: XDPDataPlane.exactSeconds(ticks: age),
            remaining: XDPDataPlane.exactSeconds(ticks: Int(maps.timeouts[Int(raw)]) - age),
            bucket: Int(trace.flow_bucket),
            isInSecondBucket: place == IPVSD_PLACE_SECOND_BUCKET.rawValue, isInOwnHalf: trace.is_in_own_half != 0,
            isInFormerTable: place == IPVSD_PLACE_OLD_TABLE.rawValue, fate: Fate(trace.fate))
    }
}

extension PacketDecision.Connection.ServerStanding {
    fileprivate init(of row: ipvsd_server?) {
        switch row {
        case let row? where row.has(IPVSD_SERVER_DOWN): self = .down
        case let row? where !row.has(IPVSD_SERVER_LEFT): self = .up
        case let row? where !row.has(IPVSD_SERVER_REMOVED): self = .drained
        case let row? where !row.isRemoved: self = .standby
        default: self = .removed
        }
    }
}

extension PacketDecision.Template {
    /// Reads the client's template; nil where it has none, or the service is not persistent.
    fileprivate init?(_ packet: ExplainedPacket, _ trace: ipvsd_trace, of maps: DirectorMaps) {
        let found = trace.template_found
        guard trace.service_flags & IPVSD_SERVICE_PERSISTENT != 0, found.server != 0 else { return nil }
        let service = maps.services[Int(trace.service)]
        let netmask = UInt32(bigEndian: service.netmask)
        let left = Int(service.persistence) - Int(Int32(bitPattern: trace.tick &- found.stamp))
        let row = maps.server(found.server)
        let standing: Standing
        switch row {
        case _ where trace.is_template_heeded != 0: standing = .heeded
        case _ where left < 0: standing = .expired
        case let row? where row.has(IPVSD_SERVER_DOWN): standing = .serverDown
        case let row? where row.has(IPVSD_SERVER_MOVES | IPVSD_SERVER_MOVES_DATAGRAMS): standing = .serverMoves
        default: standing = .serverRemoved
        }
        self.init(
            client: IPv4Address(packet.client.value & netmask), prefixLength: netmask.nonzeroBitCount,
            server: maps.address(ofServer: found.server), remaining: XDPDataPlane.exactSeconds(ticks: max(left, 0)),
            standing: standing,
            isConfirmed: trace.is_template_confirmed != 0)
    }
}

extension ipvsd_trace {
    fileprivate var choicesMade: [ipvsd_choice] { Array([choice.0, choice.1].prefix(Int(choices))) }

    fileprivate var forgettingsFound: [PacketDecision.Forgetting] {
        let reasons: [(UInt32, PacketDecision.Forgetting)] = [
            (IPVSD_FORGETTING_HASH_BASED, .hashBased), (IPVSD_FORGETTING_NO_ROOM, .noRoom),
            (IPVSD_FORGETTING_FLOOD, .flood),
        ]
        return reasons.filter { UInt32(forgettings) & $0.0 != 0 }.map(\.1)
    }
}

extension UInt64 {
    fileprivate var bigEndianBytes: [UInt8] { withUnsafeBytes(of: bigEndian) { Array($0) } }
}
