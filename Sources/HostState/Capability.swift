internal import CLinux

/// What a process may do without being root (capabilities(7)).
package enum Capability: String, CaseIterable {
    case bpf = "CAP_BPF"
    case netAdmin = "CAP_NET_ADMIN"
    case netRaw = "CAP_NET_RAW"

    /// The bits of which one suffices. CAP_SYS_ADMIN does for CAP_BPF, which is younger.
    private var bits: [Int32] {
        switch self {
        case .bpf: [CAP_BPF, CAP_SYS_ADMIN]
        case .netAdmin: [CAP_NET_ADMIN]
        case .netRaw: [CAP_NET_RAW]
        }
    }

    /// Whether this process has it in its effective set.
    package var isHeld: Bool {
        let held = clinux_effective_capabilities()
        return bits.contains { held >> UInt64($0) & 1 == 1 }
    }
}
