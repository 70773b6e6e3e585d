import Glibc
import HostState
import SystemCalls

/// A file of the machine's configuration that ipvsd writes. A text is ipvsd's if it contains `header`, and a link is
/// ipvsd's by its target.
public struct BootFile: Sendable, Hashable {
    public enum Contents: Sendable, Hashable {
        /// A text that contains `header`.
        case text(String, isExecutable: Bool)
        /// A symbolic link, such as `systemctl enable` makes.
        case link(to: String)
    }

    public let path: String
    public let contents: Contents

    /// The first line of each text, or the second line of a script. It is a comment in all formats.
    static let header = "# Written by 'ipvsd realserver-setup --persist'; 'ipvsd realserver-setup --undo' removes it.\n"

    /// Whether ipvsd wrote the file, so that it may be replaced or removed.
    static func isOurs(_ path: String) -> Bool {
        if let target = File.link(path) { return target.contains("/\(BootSetup.name)") }
        guard let bytes = try? File.read(path) else { return false }
        return String(decoding: bytes.prefix(512), as: UTF8.self).contains(header)
    }

    /// Returns the file at the path, or nil if ipvsd wrote no file there.
    static func present(at path: String) -> BootFile? {
        guard isOurs(path) else { return nil }
        if let target = File.link(path) { return BootFile(path: path, contents: .link(to: target)) }
        guard let bytes = try? File.read(path) else { return nil }
        let isExecutable = access(path, X_OK) == 0
        return BootFile(
            path: path, contents: .text(String(decoding: bytes, as: UTF8.self), isExecutable: isExecutable))
    }

    /// Writes the file, and replaces a present file or link.
    func write() throws(SystemError) {
        switch contents {
        case .text(let text, let isExecutable):
            try File.replace(path, with: Array(text.utf8), mode: isExecutable ? 0o755 : 0o644)
        case .link(let target):
            unlink(path)
            if symlink(target, path) != 0 { throw SystemError("link \(path)", code: errno) }
        }
    }

    /// Restores those of the files `former` that a failed run has overwritten or removed, as the journal has no
    /// contents of files.
    static func restore(_ former: [BootFile], _ journal: ChangeJournal) {
        let lost = former.filter { !$0.isWritten }
        for file in lost { try? journal.make(.file(path: file.path)) { try file.write() } }
        if !lost.isEmpty { HostManager.reload() }
    }

    /// Whether the file is there with these contents. The mode of a text is not compared.
    var isWritten: Bool {
        switch contents {
        case .text(let text, _): File.link(path) == nil && (try? File.read(path)) == Array(text.utf8)
        case .link(let target): File.link(path) == target
        }
    }
}
