internal import FoundationEssentials
import Glibc
import SystemCalls

/// What a journal's file says: a line of JSON with the version, and one for each record.
enum JournalText {
    /// Changes about to be made, or undone.
    struct Record: Codable {
        var made: [Change] = []
        var undone: [Change] = []

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

    static func line(_ record: Record) throws(SystemError) -> [UInt8] { try encode(record) }

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
            var changes: [Change?] = []
            var positions: [Change: Int] = [:]
            for line in lines {
                let record = try decode(Record.self, line)
                for change in record.undone {
                    if let position = positions.removeValue(forKey: change) { changes[position] = nil }
                }
                for change in record.made where positions[change] == nil {
                    positions[change] = changes.count
                    changes.append(change)
                }
            }
            return changes.compactMap(\.self)
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
