internal import FoundationEssentials
import Glibc
public import Netlink
import SystemCalls

/// Everything that was changed on the machine, kept in a file so that any later process can put it back. An entry is
/// on the disk before its change is made. What is added goes to the file's end, as one line, and a line that was cut off
/// there tells of changes that were never made: a kill at any moment loses nothing. Hold a lock of the instance's
/// while using one.
public final class ChangeJournal {
    private let path: String
    private var list: ChangeList
    /// Whether the file's end is known to be the end of a line.
    private var mayAppend = false
    /// Changes that the file tells of, those that were undone counted twice.
    private var told = 0
    /// Whether entries name interfaces otherwise than the file does.
    private var owesNames = false

    /// Goes on with the journal that is there. Creates the directory (0700), not the file.
    public init(path: String) throws {
        try File.makeDirectory(File.parent(of: path))
        self.path = path
        list = ChangeList(try Self.read(path: path))
    }

    /// Nothing where there is no such file.
    public static func read(path: String) throws -> [Change] {
        guard File.exists(path) else { return [] }
        return try JournalText.changes(try File.read(path), of: path)
    }

    /// In the order they were made.
    public var changes: [Change] { list.changes }

    /// Makes a change. If something about the same thing is journalled already, that stays, as it holds the original;
    /// otherwise an `apply` that fails takes its entry back.
    public func make(_ change: Change, _ apply: () throws -> Void) throws { try make([change], apply) }

    /// Does the same for changes, each of something else, that `apply` makes together. They are written down at once, and
    /// taken back at once: `apply` makes all of them or none, or collects its errors without throwing.
    public func make(_ wanted: [Change], _ apply: () throws -> Void) throws {
        let (added, moved) = list.add(wanted.map(\.canonical))
        do { try write(.init(made: added + moved.entries), former: moved.former) } catch {
            list.remove(added)
            if !moved.entries.isEmpty { owesNames = true }
            throw error
        }
        do { try apply() } catch {
            list.remove(added)
            try? write(.init(undone: added))
            throw error
        }
    }

    /// The entry about the same thing as `change`, if there is one.
    public func entry(for change: Change) -> Change? { list.entry(for: change.canonical) }

    /// Has the entries name their interfaces as these are called now, given all `links` of this network namespace. An entry
    /// that has a name alone, of an earlier version or about a device that was just made, is about the device of that name
    /// from then on; so is one whose device is gone.
    public func follow(_ links: [Link]) throws {
        let (moved, dropped) = list.follow(links)
        guard list.count > 0, owesNames || !moved.entries.isEmpty else { return }
        owesNames = true
        if moved.entries.isEmpty {
            try writeAnew()
        } else {
            try write(.init(made: moved.entries, undone: dropped), former: moved.former)
        }
        owesNames = false
    }

    /// Undoes one change, by the original that is journalled, and forgets it. Nothing happens where it is not
    /// journalled. Where the file cannot be written, the change is undone all the same, and that is the error.
    public func undo(_ change: Change) throws {
        guard let entry = entry(for: change) else { return }
        try entry.undo()
        list.remove([entry])
        try write(.init(undone: [entry]))
    }

    /// Undoes everything but the `earlier` changes, the latest first. What fails is reported, stays in the journal, and
    /// stops nothing else. True if all was undone; where nothing is left, the file is gone. On a full file system only its
    /// removal succeeds: one that names what has been undone is a failure at the end alone.
    public func undoAll(except earlier: [Change] = [], report: (Change, (any Error)?) -> Void) -> Bool {
        let earlier = ChangeList(earlier)
        var complete = true
        /// Changes that the file still names though they are undone, and the reason.
        var unwritten: (changes: [Change], error: any Error)?
        for change in changes.reversed() where earlier.entry(for: change) == nil {
            do { try change.undo() } catch {
                report(change, error)
                complete = false
                continue
            }
            list.remove([change])
            let undone = (unwritten?.changes ?? []) + [change]
            do {
                try write(.init(undone: [change]))
                unwritten = nil
                for change in undone { report(change, nil) }
            } catch { unwritten = (undone, error) }
        }
        for change in unwritten?.changes ?? [] { report(change, unwritten?.error) }
        return complete && unwritten == nil
    }

    // MARK: In the file

    /// `former`: what the record has made under another name of its interface, as it was.
    private func write(_ record: JournalText.Record, former: [Change] = []) throws(SystemError) {
        if list.count == 0 {
            mayAppend = false
            return try File.remove(path)
        }
        if record.isEmpty { return }
        told += record.count + former.count
        guard mayAppend, told <= 2 * list.count + 1000, File.exists(path) else { return try writeAnew() }
        mayAppend = false
        // A removal that a power cut forgets is undone once more, as what is gone already is no failure.
        let text = try JournalText.former(former) + JournalText.line(record)
        try File.write(text, to: path, flags: O_APPEND, synchronized: !record.made.isEmpty)
        mayAppend = true
    }

    /// The file is replaced whole.
    private func writeAnew() throws(SystemError) {
        list = ChangeList(list.changes)
        mayAppend = false
        try File.replace(path, with: try JournalText.file(of: list.changes))
        told = list.count
        mayAppend = true
    }
}
