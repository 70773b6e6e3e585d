import Glibc
public import SystemCalls

/// An exclusive lock (flock(2)). It lasts as long as this object and its process.
public final class FileLock {
    private let path: String
    private let descriptor: Int32

    /// The time to wait for a lock. It is longer than another process's `isHeld` keeps its lock, also on a busy
    /// machine.
    private static let patience = Duration.milliseconds(500)

    /// Locks a file, which is created with its directories. Nil: another process holds the lock for longer than the
    /// patience. With `wait`, this waits without a limit.
    public init?(path: String, wait: Bool = false) throws(SystemError) {
        var attempts = 0
        while true {
            try File.makeDirectory(File.parent(of: path))
            let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
            guard descriptor >= 0 else {
                attempts += 1
                // The last holder may remove the directory between the two calls.
                if errno == ENOENT && attempts < 100 { continue }
                throw SystemError("open \(path)")
            }
            let code = Self.lock(descriptor, wait ? LOCK_EX : LOCK_EX | LOCK_NB, patience: Self.patience)
            if code == 0 && Self.isFile(descriptor, at: path) {
                self.path = path
                self.descriptor = descriptor
                return
            }
            close(descriptor)
            if code == EWOULDBLOCK { return nil }
            if code != 0 { throw SystemError("lock \(path)", code: code) }
            // The last holder removed the file between the opening and the locking.
        }
    }

    /// Locks a directory, which is not created. Nil: another process holds the lock for longer than the patience.
    public init?(directory: String) throws(SystemError) {
        let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw SystemError("open \(directory)") }
        let code = Self.lock(descriptor, LOCK_EX | LOCK_NB, patience: Self.patience)
        guard code == 0 else {
            close(descriptor)
            if code == EWOULDBLOCK { return nil }
            throw SystemError("lock \(directory)", code: code)
        }
        self.path = directory
        self.descriptor = descriptor
    }

    deinit { close(descriptor) }

    /// Whether another process holds the lock. Any number of processes may check at the same time. Creates nothing.
    public static func isHeld(_ path: String) throws(SystemError) -> Bool {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else {
            if errno == ENOENT { return false }
            throw SystemError("open \(path)")
        }
        defer { close(descriptor) }
        let code = lock(descriptor, LOCK_SH | LOCK_NB, patience: .zero)
        if code != 0 && code != EWOULDBLOCK { throw SystemError("lock \(path)", code: code) }
        return code != 0
    }

    /// Removes the file. The lock is still held.
    public func removeFile() { unlink(path) }

    /// Locks a descriptor. Returns 0, or an errno. EWOULDBLOCK: the patience is over.
    private static func lock(_ descriptor: Int32, _ operation: Int32, patience: Duration) -> Int32 {
        let deadline = ContinuousClock.now + patience
        while flock(descriptor, operation) != 0 {
            let code = errno
            if code == EWOULDBLOCK, ContinuousClock.now < deadline {
                usleep(5_000)
            } else if code != EINTR {
                return code
            }
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
