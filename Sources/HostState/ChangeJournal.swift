internal import FoundationEssentials
import Glibc
public import Netlink
import SystemCalls

/// The file of all changes of the machine, from which any later process can undo them. An entry is on the disk before
/// its change is made. Records are appended as lines. The changes of a line that was cut off were not made, so a kill
/// at any moment loses nothing. The user of a journal holds a lock of the instance.
public final class ChangeJournal {
    private let path: String
    private var list: ChangeList
    /// Whether the file is known to end with the end of a line.
    private var mayAppend = false
    /// The number of changes in the file. A change that was undone counts twice.
    private var recorded = 0
    /// Whether entries have newer names of interfaces than the file.
    private var owesNames = false

    /// Reads the journal at `path`. Creates the directory (0700), but not the file.
    public init(path: String) throws {
        try File.makeDirectory(File.parent(of: path))
        self.path = path
        list = ChangeList(try Self.read(path: path))
    }

    /// Returns the changes in the file. Empty: there is no file.
    public static func read(path: String) throws -> [Change] {
        guard File.exists(path) else { return [] }
        return try JournalText.changes(try File.read(path), of: path)
    }

    /// The changes in the order in which they were made.
    public var changes: [Change] { list.changes }

    /// Journals a change, and makes it by `apply`. An earlier entry with the same subject stays, as it has the
    /// original. If `apply` fails, a new entry is removed.
    public func make(_ change: Change, _ apply: () throws -> Void) throws { try make([change], apply) }

    /// Journals changes of different subjects, and makes them together by `apply`. Their entries are written, and
    /// removed again, as one record. So `apply` makes all of them or none, or collects its errors without throwing.
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

    /// Returns the entry with the subject of `change`. Nil: there is none.
    public func entry(for change: Change) -> Change? { list.entry(for: change.canonical) }

    /// Updates the interfaces' names in the entries, given all `links` of this network namespace. An entry that has a
    /// name alone gets the device of that name. Such an entry was written by an earlier version, or before its device
    /// was created. An entry whose device is gone gets the device of that name, too.
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

    /// Undoes one change with the journalled original, and removes its entry. Does nothing where there is no entry. If
    /// the file cannot be written, the change is undone all the same, and the error is thrown.
    public func undo(_ change: Change) throws {
        guard let entry = entry(for: change) else { return }
        try entry.undo()
        list.remove([entry])
        try write(.init(undone: [entry]))
    }

    /// Undoes everything but the `earlier` changes, the latest first. A change that cannot be undone is reported and
    /// stays in the journal, and the others are still undone. Returns true if all were undone. The file of an empty
    /// journal is removed. On a full file system, a record cannot be written, but the file can be removed. So an
    /// unwritten record is a failure only if the file is still there at the end.
    public func undoAll(except earlier: [Change] = [], report: (Change, (any Error)?) -> Void) -> Bool {
        let earlier = ChangeList(earlier)
        var complete = true
        /// The undone changes that the file still names, and the error that kept them there.
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

    // MARK: The file

    /// Writes a record. `former` has the earlier forms of the record's changes whose interface has another name now.
    private func write(_ record: JournalText.Record, former: [Change] = []) throws(SystemError) {
        if list.count == 0 {
            mayAppend = false
            return try File.remove(path)
        }
        if record.isEmpty { return }
        recorded += record.count + former.count
        guard mayAppend, recorded <= 2 * list.count + 1000, File.exists(path) else { return try writeAnew() }
        mayAppend = false
        // After a power cut a removal may be missing. Then the change is undone once more, which is not an error.
        let text = try JournalText.former(former) + JournalText.line(record)
        try File.write(text, to: path, flags: O_APPEND, synchronized: !record.made.isEmpty)
        mayAppend = true
    }

    /// Replaces the whole file.
    private func writeAnew() throws(SystemError) {
        list = ChangeList(list.changes)
        mayAppend = false
        try File.replace(path, with: try JournalText.file(of: list.changes))
        recorded = list.count
        mayAppend = true
    }
}
