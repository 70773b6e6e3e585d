internal import BPF
internal import PacketPrograms
internal import SystemCalls

/// What becomes of a map when a data plane of the layout before is carried over.
enum MigrationRule: Sendable {
    /// `old` is opened with the maps of the layout before, `new` with those that take their place. `now`: the tick; nil: it is not
    /// known.
    typealias Copy = @Sendable (_ old: DirectorMaps, _ new: DirectorMaps, _ now: UInt32?) throws(BPFError) -> Void
    typealias Follow = @Sendable (_ old: DirectorMaps, _ new: DirectorMaps) throws(BPFError) -> Void

    /// Its rows have the same bytes: the program before and this one share it.
    case kept
    /// It is made anew beside the one before, if there was one, and takes its pin. `copy` fills it while packets go by the
    /// program before. `follow` takes over what that one has written since: once at once, and once when its last packet is
    /// through.
    case anew(copy: Copy? = nil, follow: Follow? = nil)

    var isAnew: Bool {
        switch self {
        case .kept: false
        case .anew: true
        }
    }
}

/// Where the maps of a data plane are looked for.
enum PinPlaces {
    case pinned
    /// Larger tables that are not published yet, and all others.
    case grown(Set<PinnedMap>)
    /// The maps of the layout before.
    case before
    /// Those of this layout, while the data plane is carried over to it.
    case waiting
    /// The same from the outside: where the layout is this version's, and they have not taken their pins yet.
    case claimed

    /// As a data plane is to be read now.
    static func present(below directory: String) -> PinPlaces {
        // An error shows when the map itself is opened.
        let version = (try? DirectorMaps.version(below: directory)).flatMap(\.self)
        return version == UInt32(IPVSD_ABI_VERSION) ? .claimed : .pinned
    }

    /// Nil: the settings say it.
    var layout: UInt32? {
        switch self {
        case .before: UInt32(IPVSD_ABI_VERSION) - 1
        case .waiting: UInt32(IPVSD_ABI_VERSION)
        case .pinned, .grown, .claimed: nil
        }
    }

    func path(of map: PinnedMap, below directory: String) -> String {
        let (pin, waiting) = (map.pin(below: directory), map.waitingPin(below: directory))
        switch self {
        case .pinned, .before: return pin
        case .grown(let grown): return grown.contains(map) ? map.nextPin(below: directory) : pin
        case .waiting: return map.migration.isAnew ? waiting : pin
        case .claimed: return map.migration.isAnew && File.exists(waiting) ? waiting : pin
        }
    }

    /// The same of a program's pin.
    func path(ofProgram pin: String) -> String {
        guard case .claimed = self, File.exists(LayoutMigration.waitingPin(pin)) else { return pin }
        return LayoutMigration.waitingPin(pin)
    }
}
