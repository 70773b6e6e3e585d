import Glibc

/// An exclusive lock (flock(2)) that lasts as long as this object, or its process, lives. The file stays.
public final class FileLock {
    private let descriptor: Int32

    /// Nil where another process holds it, unless `wait`.
    public init?(path: String, wait: Bool = false) throws(SystemError) {
        try File.makeDirectory(File.parent(of: path))
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw SystemError("open \(path)") }
        while flock(descriptor, LOCK_EX | (wait ? 0 : LOCK_NB)) != 0 {
            if errno == EINTR { continue }
            let code = errno
            close(descriptor)
            if code == EWOULDBLOCK { return nil }
            throw SystemError("lock \(path)", code: code)
        }
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }
}
