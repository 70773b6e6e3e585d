import Glibc
public import SystemCalls

/// An exclusive lock (flock(2)) that lasts as long as this object, or its process, lives.
public final class FileLock {
    private let path: String
    private let descriptor: Int32

    /// Nil where another process holds it, unless `wait`. Creates the file and its directories, unless told not to: then
    /// a file that is not there is nobody's, and the lock holds nothing.
    public init?(path: String, wait: Bool = false, create: Bool = true) throws(SystemError) {
        if !create && !File.exists(path) {
            self.path = path
            self.descriptor = -1
            return
        }
        try File.makeDirectory(File.parent(of: path))
        while true {
            let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
            guard descriptor >= 0 else { throw SystemError("open \(path)") }
            let code = Self.lock(descriptor, wait: wait)
            if code == 0 && Self.isFile(descriptor, at: path) {
                self.path = path
                self.descriptor = descriptor
                return
            }
            close(descriptor)
            if code == EWOULDBLOCK { return nil }
            if code != 0 { throw SystemError("lock \(path)", code: code) }
            // Its last holder removed the file between our opening and locking it.
        }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Removes the file, for the last to leave; the lock holds on.
    public func removeFile() { unlink(path) }

    private static func lock(_ descriptor: Int32, wait: Bool) -> Int32 {
        while flock(descriptor, LOCK_EX | (wait ? 0 : LOCK_NB)) != 0 {
            if errno != EINTR { return errno }
        }
        return 0
    }

    private static func isFile(_ descriptor: Int32, at path: String) -> Bool {
        var opened = stat()
        var named = stat()
        return fstat(descriptor, &opened) == 0 && stat(path, &named) == 0 && opened.st_dev == named.st_dev
            && opened.st_ino == named.st_ino
    }
}
