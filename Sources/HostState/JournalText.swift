internal import Addresses
internal import FoundationEssentials
import Glibc
import Netlink
import SystemCalls

/// What a journal's file says: a line of JSON with the version, and one for each record.
enum JournalText {
    /// Changes about to be made, or undone. One that is made once more has learnt its interface's index, or present name.
    struct Record: Codable {
        var made: [Change] = []
        var undone: [Change] = []
        /// What is known of the interfaces besides their names. Earlier versions go by the names.
        var interfaces: [String: Device]?
        /// True of a line that is for earlier versions alone, which know entries by their interfaces' names: what is undone
        /// in it is made under another name by the lines after it.
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

    /// Version 1: all of it as one value.
    private struct Whole: Codable {
        var version: Int
        var changes: [Change]
    }

    private static let version = 2

    static func file(of changes: [Change]) throws(SystemError) -> [UInt8] {
        try encode(Head(version: version)) + line(Record(made: changes))
    }

    /// Nothing where no changes are given.
    static func former(_ changes: [Change]) throws(SystemError) -> [UInt8] {
        changes.isEmpty ? [] : try line(Record(undone: changes, renames: true))
    }

    /// One line, or more where a name stands for several interfaces.
    static func line(_ record: Record) throws(SystemError) -> [UInt8] {
        var text: [UInt8] = []
        for part in parts(of: record) { text += try encode(part) }
        return text
    }

    /// In each of them a name stands for one interface.
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

    /// In the order they were made. A line without an end is one whose changes were never made.
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
