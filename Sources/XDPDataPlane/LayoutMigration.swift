internal import BPF
internal import Glibc
internal import PacketPrograms
internal import SystemCalls

/// Carries a data plane of the layout before over to this one, with the configuration that it has, while packets pass. Maps whose
/// rows have the same bytes are shared. The others are made anew beside those in use, and filled; then the program of this
/// layout takes the place of the one before on each interface, and the maps take their pins. Flows whose key is another one are
/// moved last: until then that program looks for them by both keys.
///
/// A daemon that is killed in between leaves the old data plane or the new one, and `settle` finishes what it began. Nothing is
/// undone by the end of the object.
final class LayoutMigration {
    /// Each leaves a data plane that forwards.
    enum Step: Int, CaseIterable {
        /// Loads the programs over the maps that are shared, and the others anew.
        case prepare
        /// Fills the new maps.
        case copy
        case pinPrograms
        /// From here on an older daemon refuses the data plane, and readers read the new maps.
        case claim
        /// Puts the program on the interfaces.
        case swap
        /// Takes over what the program before has written since the copy.
        case follow
        /// Gives maps and programs their pins.
        case publish
        /// Gives the flows their keys.
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

    /// Nil: there is no data plane, or its layout is this version's. `constants`: of the program.
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

    /// Does the steps that are not done yet, up to that one. What fails before the program is on all interfaces is undone.
    func run(through last: Step = .finish) throws(BPFError) {
        while let step = next, step.rawValue <= last.rawValue {
            do throws(BPFError) { try perform(step) } catch {
                if step.rawValue <= Step.swap.rawValue { giveUp() }
                throw error
            }
            next = Step(rawValue: step.rawValue + 1)
        }
    }

    /// The maps of this layout, once they are made.
    var maps: DirectorMaps {
        guard let new else { preconditionFailure("nothing is prepared") }
        return new
    }

    /// The packet program of this layout, once it is loaded.
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
        case .follow: try Self.follow(from: old, to: maps, below: directory)
        case .publish: try Self.publish(below: directory)
        case .move: try Self.move(below: directory)
        case .finish: try Self.finish(below: directory)
        }
    }

    private func prepare() throws(BPFError) {
        // Flows that a daemon was moving when it was killed.
        try XDPDataPlane.finishMove(of: old, below: directory)
        var constants = constants
        constants.is_rekeying = 1
        let (object, explainingObject, _) = try XDPDataPlane.load(
            below: directory, sizes: Capacity(of: old).sizes, constants: constants, places: .waiting)
        loaded = (object, explainingObject)
        new = try DirectorMaps(
            directory: directory, places: .waiting, oldest: UInt32(IPVSD_OLDEST_ABI_VERSION), writable: true)
    }

    /// The packet program last: where it is pinned, all is there.
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

    /// Without descriptors, as they may be what is missing, where that can be.
    private func giveUp() {
        if isClaimed {
            // Where an interface keeps the new program, the next start goes on with it.
            try? Self.goBack(of: maps, below: directory)
        } else {
            Self.unlinkWaiting(below: directory)
        }
    }
}
