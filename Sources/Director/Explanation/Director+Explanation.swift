internal import BPF
public import DataPlane
public import HostState
internal import Netlink

extension Director {
    /// What the data plane would do with the packet now, with or without a daemon; nil where there is none. Nothing of it
    /// is changed. `egress`: the name of the interface by which the packet would leave.
    public static func decision(
        on packet: ExplainedPacket, instance: InstancePaths
    ) throws -> (decision: PacketDecision, egress: String?)? {
        silenceLibbpf()
        guard let directory = instance.existingBPFDirectory(),
            let tables = try PacketTables(for: packet, directory: directory)
        else { return nil }
        let decision = PacketDecision(on: packet, by: tables)
        return (decision, try decision.way.flatMap { try RouteSocket().link(index: $0.interface)?.name })
    }
}
