public import BPF
internal import Glibc
public import LoadBalancing
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
        guard let program = try ExplainingProgram(pinnedAt: explainingPin(directory: directory)) else {
            throw BPFError(
                "explain a packet by the data plane below \(directory): an older director loaded it; one of this version, "
                    + "started in its place, brings the program that explains", code: ENOENT)
        }
        let ingress = try RunningPrograms(directory: directory).interfaces.first
        let trace = try program.trace(of: packet, to: maps.ownMACs.first ?? .zero, ingress: ingress)
        return try PacketDecision(on: packet, by: trace, of: maps)
    }

    /// The same by this data plane's own programs.
    func decision(on packet: ExplainedPacket) throws(BPFError) -> PacketDecision {
        try PacketDecision(on: packet, by: trace(of: packet), of: maps)
    }

    private func trace(of packet: ExplainedPacket) throws(BPFError) -> ipvsd_trace {
        try ExplainingProgram(of: explainingObject).trace(of: packet, to: maps.ownMACs.first ?? .zero)
    }

    /// Returns whether packets of this flow go to this real server: it is recorded so, or may go on without a record. Nobody
    /// else may run the program meanwhile.
    public func mayHaveSent(_ packet: ExplainedPacket, to server: IPv4Address) throws(BPFError) -> Bool {
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
