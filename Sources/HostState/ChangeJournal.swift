internal import FoundationEssentials
import Glibc
import SystemCalls

/// Everything that was changed on the machine, kept in a file so that any later process can put it back. An entry is
/// on the disk before its change is made; the file is replaced whole, so a kill at any moment loses nothing. Hold
/// a lock of the instance's while using one.
public final class ChangeJournal {
    private struct Contents: Codable {
        var version = 1
        var changes: [Change]
    }

    private let path: String
    /// In the order they were made.
    public private(set) var changes: [Change]

    /// Goes on with the journal that is there. Creates the directory (0700), not the file.
    public init(path: String) throws {
        try File.makeDirectory(File.parent(of: path))
        self.path = path
        self.changes = try Self.read(path: path)
    }

    /// Nothing where there is no such file.
    public static func read(path: String) throws -> [Change] {
        guard File.exists(path) else { return [] }
        let bytes = try File.read(path)
        do {
            let contents = try JSONDecoder().decode(Contents.self, from: Data(bytes))
            guard contents.version == 1 else {
                throw SystemError("read \(path)", code: EPROTO, detail: "written by another version of ipvsd")
            }
            return contents.changes
        } catch let error as DecodingError {
            throw SystemError("read \(path)", code: EPROTO, detail: "\(error)")
        }
    }

    /// Makes a change. If something about the same thing is journalled already, that stays, as it holds the original;
    /// otherwise an `apply` that fails takes its entry back.
    public func make(_ change: Change, _ apply: () throws -> Void) throws {
        let change = change.canonical
        let isNew = !changes.contains { $0.concernsTheSame(as: change) }
        if isNew {
            changes.append(change)
            do {
                try write()
            } catch {
                changes.removeLast()
                throw error
            }
        }
        do {
            try apply()
        } catch {
            if isNew {
                changes.removeAll { $0 == change }
                try? write()
            }
            throw error
        }
    }

    /// The entry about the same thing as `change`, if there is one.
    public func entry(for change: Change) -> Change? {
        let change = change.canonical
        return changes.first { $0.concernsTheSame(as: change) }
    }

    /// Undoes one change, by the original that is journalled, and forgets it. Nothing happens where it is not
    /// journalled.
    public func undo(_ change: Change) throws {
        guard let entry = entry(for: change) else { return }
        try entry.undo()
        changes.removeAll { $0 == entry }
        try write()
    }

    /// Undoes everything, the latest first. What fails is reported, stays in the journal, and stops nothing else.
    /// True if all was undone; then the file is gone.
    public func undoAll(report: (Change, (any Error)?) -> Void) -> Bool {
        undoAll(except: [], report: report)
    }

    /// The same but for `earlier`: takes back what one run did, given the `changes` from before it.
    public func undoAll(except earlier: [Change], report: (Change, (any Error)?) -> Void) -> Bool {
        var complete = true
        for change in changes.reversed() where !earlier.contains(change) {
            do {
                try undo(change)
                report(change, nil)
            } catch {
                report(change, error)
                complete = false
            }
        }
        return complete
    }

    private func write() throws(SystemError) {
        if changes.isEmpty {
            try File.remove(path)
            return
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(Contents(changes: changes)) else {
            throw SystemError("write \(path)", code: EINVAL)
        }
        try File.replace(path, with: Array(data))
    }
}
