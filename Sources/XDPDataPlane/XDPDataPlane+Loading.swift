internal import Addresses
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
            bucket_mask: 0, old_bucket_mask: 0, listener_shift: 0, answer_by_redirect: answersByRedirect ? 1 : 0,
            reply_limit: repliesPerSecond, jiffy: jiffy,
            several_ingress: traits.hasSeveralIngress ? 1 : 0,
            outer_prefix: traits.outerSources?.address.bigEndian ?? 0,
            outer_mask: (traits.outerSources?.hostMask ?? 0).bigEndian, is_rekeying: 0)
    }

    /// Nanoseconds between two ticks of the kernel's timer: what its coarse clocks count in.
    private static var jiffy: UInt32 {
        var resolution = timespec()
        clock_getres(CLOCK_MONOTONIC_COARSE, &resolution)
        return UInt32(resolution.tv_nsec)
    }

    /// Forwarding does not depend on it: a refusal is kept for those who ask for an explanation.
    private static func explainingObject(
        beside object: BPFObject, constants: ipvsd_director_constants
    ) -> Result<BPFObject, BPFError> {
        do throws(BPFError) {
            return .success(try ExplainingProgram.load(beside: object, constants: constants))
        } catch { return .failure(error) }
    }

    /// The objects, loaded over the same maps, and the maps that they have anew and larger. `places`: where maps are that no larger
    /// one is made for.
    static func load(
        below directory: String, sizes: [PinnedMap: Int], constants: ipvsd_director_constants,
        places: PinPlaces = .pinned
    ) throws(BPFError) -> (object: BPFObject, explainingObject: Result<BPFObject, BPFError>, grown: Set<PinnedMap>) {
        let (flows, oldFlows) = (MapCatalogue.flows.map, MapCatalogue.oldFlows.map)
        let object = try BPFObject(.director)
        var grown: Set<PinnedMap> = []
        var growing: [String] = []
        var former: BPFDescriptor?
        // Never smaller than they are.
        var chosen = sizes
        for (map, wanted) in sizes {
            let pinned = try BPFDescriptor(pinnedAt: places.path(of: map, below: directory))
            let present = try pinned?.maxEntries() ?? 0
            chosen[map] = max(wanted, present)
            try object.setMaxEntries(max(wanted, present), ofMap: map.name)
            if let pinned, present < wanted {
                grown.insert(map)
                growing.append("\(map.name) has \(present) rows, \(wanted) are wanted")
                if map == flows { former = pinned }
            }
        }
        for map in MapCatalogue.all where !(map == oldFlows && former != nil) {
            let path = grown.contains(map) ? map.nextPin(below: directory) : places.path(of: map, below: directory)
            // libbpf takes a pinned devmap for another one: the kernel adds BPF_F_RDONLY_PROG to its flags.
            if map == MapCatalogue.egress.map, let pinned = try BPFDescriptor(pinnedAt: path) {
                try object.reuse(descriptor: pinned.number, forMap: map.name)
            } else {
                try object.setPinPath(path, ofMap: map.name)
            }
        }
        if let former { try object.reuse(descriptor: former.number, forMap: oldFlows.name) }
        var constants = constants
        constants.bucket_mask = UInt32((chosen[flows] ?? 1) - 1)
        constants.old_bucket_mask = UInt32((try former?.maxEntries() ?? 1) - 1)
        constants.listener_shift = ListenerTable.shift(buckets: chosen[MapCatalogue.listenerCache.map] ?? 1)
        try object.setReadOnlyData(constants)
        do { try object.load() } catch {
            guard error.code == ENOMEM, !growing.isEmpty else { throw error }
            throw BPFError(
                "load tables that are larger (\(growing.sorted().joined(separator: ", "))): free memory, or name fewer new "
                    + "services and real servers at once", code: ENOMEM)
        }
        return (object, explainingObject(beside: object, constants: constants), grown)
    }
}
