import Glibc
import SystemCalls

/// A director without privilege owns its journal, and root undoes what is in there: for whoever takes that director over, it
/// must not become a way to root's files.
extension Change {
    /// Whether it may be undone though another user has written it down.
    private var isHarmless: Bool {
        switch self {
        case .sysctl(let key, _): Self.isWithin("net/", key)
        case .file(let path): Self.isWithin("/etc/", path) && path.contains("ipvsd")
        case .pin(let path), .attachment(let path): Self.isWithin(BPFFilesystem.root + "/", path)
        default: true
        }
    }

    private static func isWithin(_ directory: String, _ path: String) -> Bool {
        path.hasPrefix(directory) && !path.split(separator: "/").contains("..")
    }

    /// Throws EPERM where somebody else than this process's user owns the journal at `path`, and one of its changes could do
    /// harm.
    static func check(_ changes: [Change], of path: String) throws(SystemError) {
        var status = stat()
        guard stat(path, &status) == 0, status.st_uid != geteuid() else { return }
        if let change = changes.first(where: { !$0.isHarmless }) {
            throw SystemError("trust \(path) of user \(status.st_uid), who names \(change)", code: EPERM)
        }
    }
}
