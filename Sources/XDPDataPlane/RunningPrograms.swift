public import BPF

/// The director's programs that packets pass now. Usually it is one; while programs are swapped, one interface may
/// already have the next, which is not pinned before all have it.
public struct RunningPrograms: Equatable, Sendable {
    /// By the index of the interface.
    public var programs: [UInt32: UInt32]

    /// Those whose links are pinned below `directory`.
    public init(directory: String) throws(BPFError) {
        programs = [:]
        for path in try XDPDataPlane.linkPins(below: directory) {
            guard let link = try BPFLink(pinnedAt: path) else { continue }
            let interface = try link.interface()
            // 0: the device is gone.
            if interface != 0 { programs[interface] = try link.programID() }
        }
    }

    public var interfaces: [UInt32] { programs.keys.sorted() }
    public var ids: Set<UInt32> { Set(programs.values) }
}
