import Glibc
package import SystemCalls

/// nftables of this network namespace, through nft(8). Tables of family ip alone.
package enum NFTables {
    /// What is in the table, as `nft -j list table` gives it; nil where it is not there, or nft is not.
    package static func contents(of table: String) -> [JSON]? {
        guard let text = try? Command.output("nft", ["-j", "list", "table", "ip", table]) else { return nil }
        return JSON(text)?["nftables"]?.array
    }

    /// Makes all changes in one transaction, or none.
    package static func run(_ commands: String) throws(SystemError) {
        do { _ = try Command.output("nft", [commands]) } catch {
            throw SystemError("change nftables", code: EIO, detail: "\(error)")
        }
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
        let sets = contents(of: table)?.compactMap { $0["set"] }.filter { $0["name"]?.string == set } ?? []
        guard sets.contains(where: { ($0["elem"]?.array ?? []).contains { $0.string == element } }) else { return }
        try run("delete element ip \(table) \(set) { \(element) }")
    }
}
