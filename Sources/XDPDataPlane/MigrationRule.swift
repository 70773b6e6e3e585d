internal import BPF
internal import PacketPrograms
internal import SystemCalls

/// The rule for a map in a migration from the previous layout.
enum MigrationRule: Sendable {
    /// Fills new maps. `old` has the maps of the previous layout, `new` the maps of this one. `now` is the tick; nil:
    /// it is not known.
    typealias Copy = @Sendable (_ old: DirectorMaps, _ new: DirectorMaps, _ now: UInt32?) throws(BPFError) -> Void
    typealias CatchUp = @Sendable (_ old: DirectorMaps, _ new: DirectorMaps) throws(BPFError) -> Void

    /// The rows have the same bytes, and both programs share the map.
    case kept
    /// The map is made anew beside the previous one, if any, and takes its pin. `copy` fills it while the previous
    /// program forwards. `catchUp` takes over what that program has written since: once right after the swap, and once
    /// after its last packet.
    case anew(copy: Copy? = nil, catchUp: CatchUp? = nil)

    var isAnew: Bool {
        switch self {
        case .kept: false
        case .anew: true
        }
    }
}

/// The places at which the maps of a data plane are opened.
enum PinPlaces {
    case pinned
    /// Unpublished larger tables, and the pins of all other maps.
    case grown(Set<PinnedMap>)
    /// The maps of the previous layout.
    case before
    /// The maps of this layout during the migration.
    case waiting
    /// The maps of this layout for a reader. Some of them may not have taken their pins yet.
    case claimed

    /// Returns the places for a reader of the present data plane.
    static func present(below directory: String) -> PinPlaces {
        // An error appears again when the map itself is opened.
        let version = (try? DirectorMaps.version(below: directory)).flatMap(\.self)
        return version == UInt32(IPVSD_ABI_VERSION) ? .claimed : .pinned
    }

    /// The layout; nil: the settings have it.
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

    /// Returns the path of a program, by its pin.
    func path(ofProgram pin: String) -> String {
        guard case .claimed = self, File.exists(LayoutMigration.waitingPin(pin)) else { return pin }
        return LayoutMigration.waitingPin(pin)
    }
}
