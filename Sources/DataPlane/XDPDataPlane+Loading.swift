internal import BPF
internal import CLinux
internal import Glibc
internal import LoadBalancing
internal import PacketPrograms

/// The program and its tables: those that are pinned, where they are large enough, else new ones.
extension XDPDataPlane {
    /// What a program is made with. The masks and the shift are of its tables.
    static func constants(
        answersByRedirect: Bool, repliesPerSecond: UInt32, traits: PacketTraits
    ) -> ipvsd_director_constants {
        ipvsd_director_constants(
            bucket_mask: 0, former_mask: 0, listener_shift: 0, answer_by_redirect: answersByRedirect ? 1 : 0,
            reply_limit: repliesPerSecond, jiffy: jiffy,
            several_ingress: traits.hasSeveralIngress ? 1 : 0,
            outer_prefix: traits.outerSources?.address.bigEndian ?? 0,
            outer_mask: (traits.outerSources?.hostMask ?? 0).bigEndian)
    }

    /// Nanoseconds between two ticks of the kernel's timer: what its coarse clocks count in.
    private static var jiffy: UInt32 {
        var resolution = timespec()
        clock_getres(CLOCK_MONOTONIC_COARSE, &resolution)
        return UInt32(resolution.tv_nsec)
    }

    /// The object, loaded, and the names of the tables that it has anew and larger.
    static func load(
        below directory: String, sizes: [String: Int], constants: ipvsd_director_constants
    ) throws(BPFError) -> (object: BPFObject, grown: Set<String>) {
        let object = try BPFObject(.director)
        var grown: Set<String> = []
        var former: BPFDescriptor?
        // Never smaller than they are.
        var chosen = sizes
        for (name, wanted) in sizes {
            let pinned = try BPFDescriptor(pinnedAt: "\(directory)/\(name)")
            let present = try pinned?.maxEntries() ?? 0
            chosen[name] = max(wanted, present)
            try object.setMaxEntries(max(wanted, present), ofMap: name)
            if let pinned, present < wanted {
                grown.insert(name)
                if name == "flows" { former = pinned }
            }
        }
        for name in DirectorMaps.names where !(name == "former" && grown.contains("flows")) {
            let path = grown.contains(name) ? DirectorMaps.nextPin(name, below: directory) : "\(directory)/\(name)"
            // libbpf takes a pinned devmap for another one: the kernel adds BPF_F_RDONLY_PROG to its flags.
            if name == "egress", let pinned = try BPFDescriptor(pinnedAt: path) {
                try object.reuse(descriptor: pinned.number, forMap: name)
            } else {
                try object.setPinPath(path, ofMap: name)
            }
        }
        var constants = constants
        constants.bucket_mask = UInt32((chosen["flows"] ?? 1) - 1)
        constants.former_mask = UInt32((try former?.maxEntries() ?? 1) - 1)
        constants.listener_shift = UInt32(64 - (chosen["listeners"] ?? 1).trailingZeroBitCount)
        try object.setReadOnlyData(constants)
        // Last: libbpf takes over the name of what it reuses, too, and would find "flows" twice.
        if let former { try object.reuse(descriptor: former.number, forMap: "former") }
        try object.load()
        return (object, grown)
    }
}
