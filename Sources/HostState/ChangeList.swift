import Netlink

/// Changes in the order in which they were made, each with a subject of its own.
struct ChangeList {
    /// The changes in their order. Nil: the change in this place was removed.
    private var slots: [Change?] = []
    /// The index of each change in `slots`, by its subject, and also by its subject with the interface's name alone.
    private var positions: [Change: Int] = [:]
    /// The number of changes of each interface.
    private var interfaces: [Change.Interface: Int] = [:]
    private(set) var count = 0

    /// Entries whose interfaces have other names or indices than before.
    struct Moves {
        var entries: [Change] = []
        /// The earlier forms of the entries whose interfaces have other names now.
        var former: [Change] = []
    }

    init(_ changes: [Change] = []) { add(changes) }

    var changes: [Change] { slots.compactMap(\.self) }

    /// Returns the entry with the same subject. If one of the two has only its interface's name, the names decide.
    func entry(for change: Change) -> Change? { position(of: change).flatMap { slots[$0] } }

    private func position(of change: Change) -> Int? {
        if let position = positions[change.subject] { return position }
        guard let position = positions[change.subjectByName], slots[position]?.interface?.index == nil else {
            return nil
        }
        return position
    }

    /// Adds the changes with new subjects, and returns them as `new`. If there is an entry with a change's subject,
    /// this entry stays, as it has the original value. It gets the change's interface, and is in `moved` if its
    /// interface was another one.
    @discardableResult
    mutating func add(_ changes: [Change]) -> (new: [Change], moved: Moves) {
        var new: [Change] = []
        var moved = Moves()
        for change in changes {
            if let position = position(of: change) {
                move(position, to: change.interface, &moved)
            } else {
                slots.append(change)
                addToIndex(change, at: slots.count - 1)
                new.append(change)
            }
        }
        return (new, moved)
    }

    mutating func remove(_ changes: [Change]) {
        for change in changes {
            guard let position = position(of: change), let entry = slots[position] else { continue }
            removeFromIndex(entry, at: position)
            slots[position] = nil
        }
    }

    /// Updates the interfaces' names, given all links. Returns the changed entries as `moved`. An entry is `dropped` if
    /// its device is gone, and another device has the name. The other device then gets the same change, at the end of
    /// the list if that is new.
    mutating func follow(_ links: [Link]) -> (moved: Moves, dropped: [Change]) {
        if interfaces.isEmpty { return (Moves(), []) }
        let byIndex = Dictionary(links.map { ($0.index, $0) }) { first, _ in first }
        let byName = Dictionary(links.map { ($0.name, $0) }) { first, _ in first }
        let present: [Change.Interface: Change.Interface] = interfaces.keys.reduce(into: [:]) { present, interface in
            present[interface] = interface.find(byIndex: byIndex, byName: byName).map { Change.Interface($0) }
        }
        if present.allSatisfy({ $0.key == $0.value }) { return (Moves(), []) }
        var moved = Moves()
        var dropped: [Change] = []
        for position in slots.indices {
            guard let entry = slots[position], let former = entry.interface, let interface = present[former] else {
                continue
            }
            guard former.index != nil, !former.isSame(as: interface) else {
                move(position, to: interface, &moved)
                continue
            }
            remove([entry])
            dropped.append(entry)
            let successor = entry.on(interface)
            moved.former += add([successor]).moved.former
            moved.entries.append(successor)
        }
        return (moved, dropped)
    }

    private mutating func move(_ position: Int, to interface: Change.Interface?, _ moved: inout Moves) {
        guard let interface, interface.index != nil, let former = slots[position], former.interface != interface else {
            return
        }
        let entry = former.on(interface)
        removeFromIndex(former, at: position)
        slots[position] = entry
        addToIndex(entry, at: position)
        moved.entries.append(entry)
        if former.interface?.name != interface.name { moved.former.append(former) }
    }

    private mutating func addToIndex(_ change: Change, at position: Int) {
        positions[change.subjectByName] = position
        positions[change.subject] = position
        if let interface = change.interface { interfaces[interface, default: 0] += 1 }
        count += 1
    }

    private mutating func removeFromIndex(_ change: Change, at position: Int) {
        // Another interface may have the name by now.
        for subject in [change.subject, change.subjectByName] where positions[subject] == position {
            positions[subject] = nil
        }
        if let interface = change.interface, let uses = interfaces[interface] {
            interfaces[interface] = uses > 1 ? uses - 1 : nil
        }
        count -= 1
    }
}
