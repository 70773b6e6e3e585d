import Director
import FoundationEssentials
import LoadBalancing
import XDPDataPlane

/// What becomes of a packet, with what is known of the real servers: what `ipvsd explain` says.
struct Explanation: Sendable, Encodable {
    var packet: ExplainedPacket
    var decision: PacketDecision
    /// Of the service, in the order of `status`; those that are removed, too.
    var servers: [DirectorStatus.Server]
    /// The daemon's; nil where none runs.
    var pid: Int32?
    var xdp: DirectorStatus.XDP
    /// The name of the interface by which it leaves.
    var egress: String?

    /// A part of what `ipvsd status` says, about the packet's service.
    init(of packet: ExplainedPacket, decision: PacketDecision, status: DirectorStatus, egress: String?) {
        self.packet = packet
        self.decision = decision
        self.egress = egress
        pid = status.pid
        xdp = status.xdp
        let listeners = Set(decision.service?.listeners ?? [])
        servers =
            status.services.first { $0.listeners.contains { listeners.contains($0.address) } }?.servers ?? []
    }

    /// The packet comes in by no interface's program: the director does nothing with it.
    var isDetached: Bool { xdp.interfaces.isEmpty }

    private enum CodingKeys: String, CodingKey {
        case packet, servers, pid, xdp
        case egress = "egressInterface"
    }

    func encode(to encoder: any Encoder) throws {
        try decision.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(packet, forKey: .packet)
        try container.encode(servers, forKey: .servers)
        try container.encode(pid, forKey: .pid)
        try container.encode(xdp, forKey: .xdp)
        try container.encode(egress, forKey: .egress)
    }

    /// UTF-8, keys sorted.
    func json() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(self))
    }
}
