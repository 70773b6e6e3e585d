import Director
import FoundationEssentials
import LoadBalancing
import XDPDataPlane

/// The output of `ipvsd explain`: the decision on a packet, and the state of the service's real servers.
struct Explanation: Sendable, Encodable {
    var packet: ExplainedPacket
    var decision: PacketDecision
    /// The service's real servers, also removed ones, in the order of `status`.
    var servers: [DirectorStatus.Server]
    /// The daemon's process id; nil where none runs.
    var pid: Int32?
    var xdp: DirectorStatus.XDP
    /// The name of the interface by which the packet leaves.
    var egress: String?

    /// Takes the part of the status that is about the packet's service.
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

    /// Whether the packet program is on no interface, so that no packet reaches it.
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

    /// Returns the explanation as JSON with sorted keys.
    func json() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(self))
    }
}
