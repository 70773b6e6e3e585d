import Glibc
import HostState
import SystemCalls

/// A file of the machine's configuration that we write, known by its first lines or, a link, by where it leads.
public struct BootFile: Sendable, Hashable {
    public enum Contents: Sendable, Hashable {
        /// Holds `header`.
        case text(String, isExecutable: Bool)
        /// A symbolic link, as `systemctl enable` makes it.
        case link(to: String)
    }

    public let path: String
    public let contents: Contents

    /// A comment in all of their formats.
    static let header = "# Written by 'ipvsd realserver-setup --persist'; 'ipvsd realserver-setup --undo' removes it.\n"

    /// Whether what is there is ours to replace or to remove.
    static func isOurs(_ path: String) -> Bool {
        if let target = File.link(path) { return target.contains("/\(BootSetup.name)") }
        guard let bytes = try? File.read(path) else { return false }
        return String(decoding: bytes.prefix(512), as: UTF8.self).contains(header)
    }

    /// One of ours as it stands there; nil: there is none.
    static func present(at path: String) -> BootFile? {
        guard isOurs(path) else { return nil }
        if let target = File.link(path) { return BootFile(path: path, contents: .link(to: target)) }
        guard let bytes = try? File.read(path) else { return nil }
        let isExecutable = access(path, X_OK) == 0
        return BootFile(
            path: path, contents: .text(String(decoding: bytes, as: UTF8.self), isExecutable: isExecutable))
    }

    /// Takes the place of what is there.
    func write() throws(SystemError) {
        switch contents {
        case .text(let text, let isExecutable):
            try File.replace(path, with: Array(text.utf8), mode: isExecutable ? 0o755 : 0o644)
        case .link(let target):
            unlink(path)
            if symlink(target, path) != 0 { throw SystemError("link \(path)", code: errno) }
        }
    }

    /// Puts back files of earlier runs, which a run that failed wrote over or removed: the journal has no contents.
    static func restore(_ former: [BootFile], _ journal: ChangeJournal) {
        let lost = former.filter { !$0.isWritten }
        for file in lost { try? journal.make(.file(path: file.path)) { try file.write() } }
        if !lost.isEmpty { HostManager.reload() }
    }

    var isWritten: Bool {
        switch contents {
        case .text(let text, _): File.link(path) == nil && (try? File.read(path)) == Array(text.utf8)
        case .link(let target): File.link(path) == target
        }
    }
}
