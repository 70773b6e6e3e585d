internal import BPF
internal import Glibc
internal import PacketPrograms
internal import SystemCalls

/// The recovery of a migration that was killed, and the steps from `swap` on. These steps need only what is pinned, and
/// may be repeated.
extension LayoutMigration {
    /// Returns the pin of a map or program that waits to replace the previous one. A daemon of layout 3 ignores such
    /// names.
    static func waitingPin(_ pin: String) -> String { "\(pin)-\(IPVSD_ABI_VERSION)" }

    private static func waitingProgram(below directory: String) -> String {
        waitingPin(XDPDataPlane.programPin(directory: directory))
    }

    private static var mapsMadeAnew: [PinnedMap] { MapCatalogue.all.filter(\.migration.isAnew) }

    /// The paths of all pins that may wait. The packet program comes first, since the others are useless without it.
    static func pins(below directory: String) -> [String] {
        [waitingProgram(below: directory)] + mapsMadeAnew.map { $0.waitingPin(below: directory) }
            + [XDPDataPlane.tickPin, XDPDataPlane.explainingPin].map { waitingPin($0(directory)) }
    }

    /// Continues the migration where packets may have passed the new program, and undoes it otherwise.
    static func recover(below directory: String) throws(BPFError) {
        let version = try DirectorMaps.version(below: directory)
        if version == 0, try XDPDataPlane.linkPins(below: directory).isEmpty {
            // A daemon, perhaps of another layout, died before it had filled in anything.
            for pin in XDPDataPlane.pins(directory: directory) { unlink(pin) }
            return
        }
        let isClaimed = version == UInt32(IPVSD_ABI_VERSION)
        if !pins(below: directory).contains(where: File.exists) {
            if isClaimed { try finishMove(below: directory) }
        } else if !isClaimed {
            unlinkWaiting(below: directory)
        } else if try isInUse(below: directory) {
            if !isPublishing(below: directory) {
                try swap(below: directory)
                let oldest = UInt32(IPVSD_OLDEST_ABI_VERSION)
                if let old = try DirectorMaps(
                    directory: directory, places: .before, oldest: oldest, writable: true),
                    let new = try DirectorMaps(directory: directory, places: .waiting, writable: true)
                {
                    try catchUp(from: old, to: new, below: directory)
                }
            }
            try publish(below: directory)
            try finishMove(below: directory)
        } else if let maps = try DirectorMaps(directory: directory, places: .waiting, writable: true) {
            try restorePrevious(from: maps, below: directory)
        }
    }

    private static func isInUse(below directory: String) throws(BPFError) -> Bool {
        if isPublishing(below: directory) { return true }
        guard let program = try BPFProgram(pinnedAt: waitingProgram(below: directory))?.id() else { return false }
        return try !links(with: program, below: directory).isEmpty
    }

    /// Whether `publish` has begun, so that the first map has already taken its pin.
    private static func isPublishing(below directory: String) -> Bool {
        File.exists(waitingProgram(below: directory))
            && !File.exists(MapCatalogue.listeners.map.waitingPin(below: directory))
    }

    /// Returns the attachments of the program to present devices.
    private static func links(with program: UInt32, below directory: String) throws(BPFError) -> [BPFLink] {
        var links: [BPFLink] = []
        for path in try XDPDataPlane.linkPins(below: directory) {
            if let link = try BPFLink(pinnedAt: path), try link.interface() != 0, try link.programID() == program {
                links.append(link)
            }
        }
        return links
    }

    static func swap(below directory: String) throws(BPFError) {
        let path = waitingProgram(below: directory)
        guard let program = try BPFProgram(pinnedAt: path) else { throw BPFError("open \(path)", code: ENOENT) }
        for path in try XDPDataPlane.linkPins(below: directory) {
            if let link = try BPFLink(pinnedAt: path), try link.interface() != 0 { try link.update(to: program) }
        }
    }

    static func catchUp(from old: DirectorMaps, to new: DirectorMaps, below directory: String) throws(BPFError) {
        func catchUp() throws(BPFError) {
            try new.spreadOverflowMarks(now: now(below: directory))
            for map in mapsMadeAnew {
                if case .anew(_, let catchUp?) = map.migration { try catchUp(old, new) }
            }
        }
        try catchUp()
        RowAllocator.waitForGrace()
        try catchUp()
    }

    static func publish(below directory: String) throws(BPFError) {
        let explaining = XDPDataPlane.explainingPin(directory: directory)
        // If there is no new explaining program, the previous one is removed: it would explain decisions by other
        // tables.
        if !isPublishing(below: directory), !File.exists(waitingPin(explaining)) { unlink(explaining) }
        let pins =
            mapsMadeAnew.map { $0.pin(below: directory) }
            + [XDPDataPlane.tickPin(directory: directory), explaining, XDPDataPlane.programPin(directory: directory)]
        for pin in pins {
            if rename(waitingPin(pin), pin) != 0, errno != ENOENT {
                throw BPFError("rename \(waitingPin(pin)) to \(pin)", code: errno)
            }
        }
    }

    static func move(below directory: String, isResumed: Bool = false) throws(BPFError) {
        guard let maps = try DirectorMaps(directory: directory, places: .pinned, writable: true) else { return }
        var rekeying = try FlowRekeying(maps, now: now(below: directory), isResumed: isResumed)
        rekeying.move()
    }

    static func finish(below directory: String) throws(BPFError) {
        guard let maps = try DirectorMaps(directory: directory, places: .pinned, writable: true) else { return }
        for (key, value) in try maps.listeners.entries() where value.former != 0 {
            var value = value
            value.former = 0
            try maps.listeners.update(value, for: key)
            maps.listenerCache.set(value, for: key)
        }
        maps.isMigrating = false
    }

    /// Finishes the move of flows and the migration, where a listener still has a former number.
    private static func finishMove(below directory: String) throws(BPFError) {
        guard let maps = try DirectorMaps(directory: directory, places: .pinned, writable: true), maps.isMigrating,
            try FlowRekeying(maps, now: nil).isNeeded
        else { return }
        try move(below: directory, isResumed: true)
        try finish(below: directory)
    }

    static func now(below directory: String) throws(BPFError) -> UInt16? {
        try XDPDataPlane.tick(below: directory).map { UInt16(truncatingIfNeeded: $0) }
    }

    /// Restores the previous program, which then finds the flows that the new one has recorded. The new program's
    /// counts of packets are lost. `maps` are the new ones.
    static func restorePrevious(from maps: DirectorMaps, below directory: String) throws(BPFError) {
        // This comes before the previous program gets packets. The new program looks for a flow by its former key
        // first.
        try giveFormerKeys(to: maps, below: directory, isResumed: true)
        if let program = try BPFProgram(pinnedAt: waitingProgram(below: directory))?.id() {
            let links = try links(with: program, below: directory)
            let path = XDPDataPlane.programPin(directory: directory)
            if !links.isEmpty {
                guard let published = try BPFProgram(pinnedAt: path) else {
                    throw BPFError("open \(path)", code: ENOENT)
                }
                for link in links { try link.update(to: published) }
                RowAllocator.waitForGrace()
                // The new program may have recorded flows meanwhile.
                try giveFormerKeys(to: maps, below: directory, isResumed: false)
            }
        }
        maps.isMigrating = false
        maps.settings.field(\.abi_version).pointee = UInt32(IPVSD_ABI_VERSION) - 1
        unlinkWaiting(below: directory)
    }

    private static func giveFormerKeys(
        to maps: DirectorMaps, below directory: String, isResumed: Bool
    ) throws(BPFError) {
        let now = try now(below: directory)
        try maps.spreadOverflowMarks(now: now)
        var rekeying = try FlowRekeying(maps, .back, now: now, isResumed: isResumed)
        rekeying.move()
    }

    static func unlinkWaiting(below directory: String) {
        for pin in pins(below: directory) { unlink(pin) }
    }
}
