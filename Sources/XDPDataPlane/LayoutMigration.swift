internal import BPF
internal import Glibc
internal import PacketPrograms
internal import SystemCalls

/// Carries a data plane of the previous layout over to this one, with its configuration, while packets pass.
/// Maps whose rows have the same bytes are shared. The others are made anew beside those in use, and filled. The
/// program of this layout then replaces the previous one on each interface, and the maps take their pins. Flows whose
/// key changes are moved last. Until then the program looks for them by both keys.
///
/// A daemon that is killed in between leaves the old data plane or the new one, and `recover` finishes its work. The
/// deallocation of this object undoes nothing.
final class LayoutMigration {
    /// A step of the migration. Each leaves a data plane that forwards.
    enum Step: Int, CaseIterable {
        /// Loads the programs over the shared maps and the new ones.
        case prepare
        /// Fills the new maps.
        case copy
        case pinPrograms
        /// Marks the data plane as one of this layout. From here on an older daemon refuses it, and readers read the
        /// new maps.
        case claim
        /// Replaces the program on the interfaces.
        case swap
        /// Takes over the rows that the previous program has written since the copy.
        case catchUp
        /// Gives maps and programs their pins.
        case publish
        /// Gives flows their new keys.
        case move
        case finish
    }

    private let directory: String
    private let constants: ipvsd_director_constants
    private let old: DirectorMaps
    private var loaded: (object: BPFObject, explainingObject: Result<BPFObject, BPFError>)?
    private var new: DirectorMaps?
    private var next: Step? = .prepare
    private var isClaimed = false

    /// Opens the old maps; nil where there is no data plane, or its layout is this version's. `constants` are those of
    /// the new packet program.
    init?(below directory: String, constants: ipvsd_director_constants) throws(BPFError) {
        guard
            let old = try DirectorMaps(
                directory: directory, oldest: UInt32(IPVSD_OLDEST_ABI_VERSION), writable: true),
            old.layout < UInt32(IPVSD_ABI_VERSION)
        else { return nil }
        self.directory = directory
        self.old = old
        self.constants = constants
    }

    /// Does the remaining steps up to `last`. An error before the program is on all interfaces undoes the migration.
    func run(through last: Step = .finish) throws(BPFError) {
        while let step = next, step.rawValue <= last.rawValue {
            do throws(BPFError) { try perform(step) } catch {
                if step.rawValue <= Step.swap.rawValue { rollBack() }
                throw error
            }
            next = Step(rawValue: step.rawValue + 1)
        }
    }

    /// The maps of this layout. Requires the step `prepare`.
    var maps: DirectorMaps {
        guard let new else { preconditionFailure("nothing is prepared") }
        return new
    }

    /// Returns the packet program of this layout. Requires the step `prepare`.
    func program() throws(BPFError) -> BPFProgram {
        guard let loaded else { preconditionFailure("nothing is prepared") }
        return try loaded.object.program(named: "director")
    }

    private func perform(_ step: Step) throws(BPFError) {
        switch step {
        case .prepare: try prepare()
        case .copy:
            let now = try XDPDataPlane.tick(below: directory)
            for map in MapCatalogue.all {
                if case .anew(let copy?, _) = map.migration { try copy(old, maps, now) }
            }
        case .pinPrograms: try pinPrograms()
        case .claim: try claim()
        case .swap: try Self.swap(below: directory)
        case .catchUp: try Self.catchUp(from: old, to: maps, below: directory)
        case .publish: try Self.publish(below: directory)
        case .move: try Self.move(below: directory)
        case .finish: try Self.finish(below: directory)
        }
    }

    private func prepare() throws(BPFError) {
        // Moves the flows that a killed daemon was moving.
        try XDPDataPlane.finishMove(of: old, below: directory)
        var constants = constants
        constants.is_rekeying = 1
        let (object, explainingObject, _) = try XDPDataPlane.load(
            below: directory, sizes: Capacity(of: old).sizes, constants: constants, places: .waiting)
        loaded = (object, explainingObject)
        new = try DirectorMaps(
            directory: directory, places: .waiting, oldest: UInt32(IPVSD_OLDEST_ABI_VERSION), writable: true)
    }

    /// Pins the programs, the packet program last. Where it is pinned, all others are pinned, too.
    private func pinPrograms() throws(BPFError) {
        guard let loaded else { return }
        try loaded.object.program(named: "tick").pin(at: Self.waitingPin(XDPDataPlane.tickPin(directory: directory)))
        if case .success(let object) = loaded.explainingObject {
            try ExplainingProgram.program(of: object)
                .pin(at: Self.waitingPin(XDPDataPlane.explainingPin(directory: directory)))
        }
        try program().pin(at: Self.waitingPin(XDPDataPlane.programPin(directory: directory)))
    }

    private func claim() throws(BPFError) {
        try maps.spreadOverflowMarks(now: Self.now(below: directory))
        isClaimed = true
        old.settings.field(\.abi_version).pointee = UInt32(IPVSD_ABI_VERSION)
        old.isMigrating = true
    }

    /// Undoes the migration, where possible without new descriptors, which may be exhausted.
    private func rollBack() {
        if isClaimed {
            // Where an interface keeps the new program, the next start continues the migration.
            try? Self.restorePrevious(from: maps, below: directory)
        } else {
            Self.unlinkWaiting(below: directory)
        }
    }
}
