public import Addresses
public import BPF
internal import Glibc
import LoadBalancing
internal import Netlink
internal import PacketPrograms

/// What becomes of a packet, by the program that forwards, compiled to explain.
extension XDPDataPlane {
    /// By what is pinned below `directory`, with or without a daemon; nil where there is no data plane. Nobody else may run
    /// the program meanwhile.
    public static func decision(
        on packet: ExplainedPacket, below directory: String
    ) throws(BPFError) -> PacketDecision? {
        guard let maps = try DirectorMaps(directory: directory, writable: false),
            try BPFProgram(pinnedAt: programPin(directory: directory)) != nil
        else { return nil }
        let places = PinPlaces.present(below: directory)
        let path = places.path(ofProgram: explainingPin(directory: directory))
        guard let program = try ExplainingProgram(pinnedAt: path), try readsTables(program, below: directory, places)
        else { throw explanationIsMissing(below: directory) }
        let ingress = try RunningPrograms(directory: directory).interfaces.first
        let trace = try program.trace(of: packet, to: maps.ownMACs.first ?? .zero, ingress: ingress)
        return try PacketDecision(on: packet, by: trace, of: maps)
    }

    /// Whether the program reads the tables of the data plane: growth makes another flow table, a change of the layout other
    /// listeners.
    private static func readsTables(
        _ program: ExplainingProgram, below directory: String, _ places: PinPlaces
    ) throws(BPFError) -> Bool {
        for map in [MapCatalogue.flows.map, MapCatalogue.listenerCache.map] {
            guard let pinned = try BPFDescriptor(pinnedAt: places.path(of: map, below: directory)),
                try program.uses(map: pinned)
            else { return false }
        }
        return true
    }

    /// Why no pinned program explains what the data plane does: the kernel refuses it now, or did so then, or the director
    /// does not know it. One that an older director left pinned has other tables than this director.
    private static func explanationIsMissing(below directory: String) -> BPFError {
        let operation = "explain a packet by the data plane below \(directory)"
        do throws(BPFError) { try ExplainingProgram.tryLoading() } catch {
            return BPFError(
                "\(operation): the kernel refuses the program that explains: \(error.operation)", code: error.code,
                detail: error.detail)
        }
        return BPFError(
            "\(operation): an older director loaded it, or the kernel refused the program that explains then, as the "
                + "director's log says; one of this version, started in its place, brings that program", code: ENOENT)
    }

    /// Why this data plane has no program that explains; nil: it has one.
    public var explainingRefusal: BPFError? {
        if case .failure(let error) = explainingObject { error } else { nil }
    }

    /// The same by this data plane's own programs.
    func decision(on packet: ExplainedPacket) throws(BPFError) -> PacketDecision {
        try PacketDecision(on: packet, by: trace(of: packet), of: maps)
    }

    private func trace(of packet: ExplainedPacket) throws(BPFError) -> ipvsd_trace {
        try ExplainingProgram(of: explainingObject.get()).trace(of: packet, to: maps.ownMACs.first ?? .zero)
    }

    /// Returns whether packets of this flow go to this real server: it is recorded so, or may go on without a record. True
    /// where no program can tell: the answer allows a probe, and not to probe may leave a path MTU unknown. Nobody else may
    /// run the program meanwhile.
    public func mayHaveSent(_ packet: ExplainedPacket, to server: IPv4Address) throws(BPFError) -> Bool {
        if explainingRefusal != nil { return true }
        var packet = packet
        if packet.transport == .tcp { packet.segment = .ack }
        let trace = try trace(of: packet)
        guard trace.service != 0 else { return false }
        if trace.service_flags & IPVSD_SERVICE_ONE_PACKET != 0 { return true }
        guard trace.flow_value != 0 else {
            return UInt32(trace.forgettings) & (IPVSD_FORGETTING_NO_ROOM | IPVSD_FORGETTING_FLOOD) != 0
        }
        return maps.address(ofServer: ipvsd_flow_server(trace.flow_value)) == server
    }
}
