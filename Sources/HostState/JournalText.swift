internal import Addresses
internal import FoundationEssentials
import Glibc
import Netlink
import SystemCalls

/// The text of a journal's file: a line of JSON with the version, and a line for each record.
enum JournalText {
    /// Changes that are about to be made, and changes that were undone. A change that is recorded as made once more has
    /// a new index or name of its interface.
    struct Record: Codable {
        var made: [Change] = []
        var undone: [Change] = []
        /// The interfaces' further properties, by the interfaces' names. Earlier versions read the names alone.
        var interfaces: [String: Device]?
        /// Whether only earlier versions use the line, which identify entries by their interfaces' names. The following
        /// lines make its undone changes again under other names. Nil: false.
        var renames: Bool?

        struct Device: Codable {
            var index: Int32
            var address: String?
            var kind: String?
        }

        var count: Int { made.count + undone.count }
        var isEmpty: Bool { count == 0 }
    }

    private struct Head: Codable {
        var version: Int
    }

    /// The file of version 1, which is a single JSON value.
    private struct Whole: Codable {
        var version: Int
        var changes: [Change]
    }

    private static let version = 2

    static func file(of changes: [Change]) throws(SystemError) -> [UInt8] {
        try encode(Head(version: version)) + line(Record(made: changes))
    }

    /// Returns the line that undoes changes for earlier versions. Empty: there are no changes.
    static func former(_ changes: [Change]) throws(SystemError) -> [UInt8] {
        changes.isEmpty ? [] : try line(Record(undone: changes, renames: true))
    }

    /// Returns the line of a record, or several lines if several interfaces have the same name.
    static func line(_ record: Record) throws(SystemError) -> [UInt8] {
        var text: [UInt8] = []
        for part in parts(of: record) { text += try encode(part) }
        return text
    }

    /// Splits a record so that a name means one interface in each part.
    private static func parts(of record: Record) -> [Record] {
        let empty = Record(renames: record.renames)
        var parts = [empty]
        var named: [String: Change.Interface] = [:]
        func add(_ change: Change, to list: WritableKeyPath<Record, [Change]>) {
            if let interface = change.interface {
                if let other = named[interface.name], other != interface {
                    parts.append(empty)
                    named = [:]
                }
                named[interface.name] = interface
                if let index = interface.index {
                    let device = Record.Device(
                        index: index, address: interface.address?.description, kind: interface.kind)
                    parts[parts.count - 1].interfaces = parts[parts.count - 1].interfaces ?? [:]
                    parts[parts.count - 1].interfaces?[interface.name] = device
                }
            }
            parts[parts.count - 1][keyPath: list].append(change)
        }
        for change in record.undone { add(change, to: \.undone) }
        for change in record.made { add(change, to: \.made) }
        return parts
    }

    private static func identified(_ changes: [Change], by devices: [String: Record.Device]?) -> [Change] {
        guard let devices else { return changes }
        return changes.map { change in
            guard let interface = change.interface, let device = devices[interface.name] else { return change }
            return change.on(
                Change.Interface(
                    name: interface.name, index: device.index, address: device.address.flatMap { MACAddress($0) },
                    kind: device.kind))
        }
    }

    /// Returns the changes in the order in which they were made. A line without an end is ignored, as its changes were
    /// not made.
    static func changes(_ bytes: [UInt8], of path: String) throws -> [Change] {
        var lines = bytes.split(separator: 10, omittingEmptySubsequences: false).dropLast()
        do {
            guard let first = lines.popFirst(), let head = try? decode(Head.self, first), head.version != 1 else {
                let whole = try decode(Whole.self, bytes[...])
                try accept(whole.version, 1, path)
                return whole.changes
            }
            try accept(head.version, version, path)
            var list = ChangeList()
            for line in lines {
                let record = try decode(Record.self, line)
                if record.renames == true { continue }
                list.remove(identified(record.undone, by: record.interfaces))
                list.add(identified(record.made, by: record.interfaces))
            }
            return list.changes
        } catch let error as DecodingError {
            throw SystemError("read \(path)", code: EPROTO, detail: "\(error)")
        }
    }

    private static func accept(_ version: Int, _ known: Int, _ path: String) throws(SystemError) {
        guard version == known else {
            throw SystemError("read \(path)", code: EPROTO, detail: "written by another version of ipvsd")
        }
    }

    private static func decode<Value: Decodable>(_ type: Value.Type, _ line: ArraySlice<UInt8>) throws -> Value {
        try JSONDecoder().decode(type, from: Data(line))
    }

    private static func encode(_ value: some Encodable) throws(SystemError) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(value) else { throw SystemError("write a journal", code: EINVAL) }
        return Array(data) + [10]
    }
}
