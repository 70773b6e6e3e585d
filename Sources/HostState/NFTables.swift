internal import FoundationEssentials
import Glibc
package import SystemCalls

/// Tables of nftables of family ip in this network namespace, through nft(8).
package enum NFTables {
    /// Returns the contents of a table, as `nft -j list table` prints them. Nil: the table, nft or the kernel's
    /// nf_tables is missing.
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

    /// Whether the failure means that there is no such table, that nft is missing, or that the kernel has no nf_tables.
    package static func isAbsence(_ failure: Command.Failure) -> Bool {
        switch failure {
        case .missing: true
        // A program that cannot be started counts as missing.
        case .failed(let reason): reason.hasPrefix("start ") || absences.contains(where: reason.contains)
        }
    }

    /// The texts of ENOENT, and of EOPNOTSUPP, EPROTONOSUPPORT and EAFNOSUPPORT of a kernel without nf_tables.
    private static let absences = [
        "No such file or directory", "Operation not supported", "rotocol not supported",
    ]

    /// Makes all changes of the commands in one transaction, or none.
    package static func run(_ commands: String) throws(SystemError) {
        do { _ = try Command.output("nft", [commands]) } catch {
            throw systemError("change nftables", error)
        }
    }

    /// Returns an error with the code EPERM if nft lacks the privilege, and else EIO.
    private static func systemError(_ operation: String, _ failure: Command.Failure) -> SystemError {
        let reason = "\(failure)"
        let isMissingPrivilege = reason.contains("Operation not permitted")
        return SystemError(operation, code: isMissingPrivilege ? EPERM : EIO, detail: reason)
    }

    /// Whether nft and the kernel accept these changes.
    package static func accepts(_ commands: String) -> Bool {
        (try? Command.output("nft", ["--check", commands])) != nil
    }

    package static func removeTable(_ name: String) throws(SystemError) {
        // `delete` alone fails where the table is gone.
        try run("add table ip \(name); delete table ip \(name)")
    }

    static func removeElement(_ element: String, from set: String, of table: String) throws(SystemError) {
        let sets = try contents(of: table)?.compactMap { $0["set"] }.filter { $0["name"]?.string == set } ?? []
        guard sets.contains(where: { ($0["elem"]?.array ?? []).contains { $0.string == element } }) else { return }
        try run("delete element ip \(table) \(set) { \(element) }")
    }
}

/// Any JSON value. A number that is not an Int becomes a string.
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

    /// Reads a text. Nil: it is not JSON.
    package init?(_ text: String) {
        guard let value = try? JSONDecoder().decode(JSON.self, from: Data(text.utf8)) else { return nil }
        self = value
    }

    package subscript(key: String) -> JSON? { if case .object(let members) = self { members[key] } else { nil } }

    /// The members of an object, which have no order. Empty: the value is not an object.
    package var members: [String: JSON] { if case .object(let members) = self { members } else { [:] } }
    package var array: [JSON]? { if case .array(let elements) = self { elements } else { nil } }
    package var string: String? { if case .string(let text) = self { text } else { nil } }
    package var number: Int? { if case .number(let value) = self { value } else { nil } }
}
