internal import FoundationEssentials
import Glibc
package import SystemCalls

/// nftables of this network namespace, through nft(8). Tables of family ip alone.
package enum NFTables {
    /// What is in the table, as `nft -j list table` gives it; nil where it is not there, or nft or the kernel's nf_tables is not.
    package static func contents(of table: String) throws(SystemError) -> [JSON]? {
        let text: String
        do { text = try Command.output("nft", ["-j", "list", "table", "ip", table]) } catch {
            if isAbsence(error) { return nil }
            throw systemError("list nftables' table ip \(table)", error)
        }
        guard let contents = JSON(text)?["nftables"]?.array else {
            throw SystemError("list nftables' table ip \(table)", code: EPROTO, detail: "nft gave no JSON of it")
        }
        return contents
    }

    /// Whether nft says that there is no such table, or can be none.
    package static func isAbsence(_ failure: Command.Failure) -> Bool {
        switch failure {
        case .missing: true
        // One that cannot be started is as good as missing.
        case .failed(let reason): reason.hasPrefix("start ") || absences.contains(where: reason.contains)
        }
    }

    /// ENOENT; EOPNOTSUPP, EPROTONOSUPPORT and EAFNOSUPPORT of a kernel without nf_tables.
    private static let absences = [
        "No such file or directory", "Operation not supported", "rotocol not supported",
    ]

    /// Makes all changes in one transaction, or none.
    package static func run(_ commands: String) throws(SystemError) {
        do { _ = try Command.output("nft", [commands]) } catch {
            throw systemError("change nftables", error)
        }
    }

    /// EPERM where nft lacks the privilege, else EIO.
    private static func systemError(_ operation: String, _ failure: Command.Failure) -> SystemError {
        let reason = "\(failure)"
        let isMissingPrivilege = reason.contains("Operation not permitted")
        return SystemError(operation, code: isMissingPrivilege ? EPERM : EIO, detail: reason)
    }

    /// Whether nft and the kernel would make these changes.
    package static func accepts(_ commands: String) -> Bool {
        (try? Command.output("nft", ["--check", commands])) != nil
    }

    package static func removeTable(_ name: String) throws(SystemError) {
        // `delete` alone fails where it is gone.
        try run("add table ip \(name); delete table ip \(name)")
    }

    static func removeElement(_ element: String, from set: String, of table: String) throws(SystemError) {
        let sets = try contents(of: table)?.compactMap { $0["set"] }.filter { $0["name"]?.string == set } ?? []
        guard sets.contains(where: { ($0["elem"]?.array ?? []).contains { $0.string == element } }) else { return }
        try run("delete element ip \(table) \(set) { \(element) }")
    }
}

/// Any JSON value.
package enum JSON: Decodable, Sendable {
    case null
    case bool(Bool)
    case number(Int)
    case string(String)
    case array([JSON])
    case object([String: JSON])

    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int.self) {
            self = .number(value)
        } else if let value = try? container.decode(Double.self) {
            self = .string("\(value)")
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([JSON].self) {
            self = .array(value)
        } else {
            self = .object(try container.decode([String: JSON].self))
        }
    }

    /// Nil where it is none.
    package init?(_ text: String) {
        guard let value = try? JSONDecoder().decode(JSON.self, from: Data(text.utf8)) else { return nil }
        self = value
    }

    package subscript(key: String) -> JSON? { if case .object(let members) = self { members[key] } else { nil } }

    /// In no particular order.
    package var members: [String: JSON] { if case .object(let members) = self { members } else { [:] } }
    package var array: [JSON]? { if case .array(let elements) = self { elements } else { nil } }
    package var string: String? { if case .string(let text) = self { text } else { nil } }
    package var number: Int? { if case .number(let value) = self { value } else { nil } }
}
