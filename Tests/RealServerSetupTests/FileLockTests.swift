import Glibc
import HostState
import SystemCalls
import Testing

/// The lock of an instance, and checks of it.
struct FileLockTests {
    private func withPath(_ body: (String) throws -> Void) throws {
        let directory = "/tmp/ipvsd-lock-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        defer {
            unlink(directory + "/lock")
            rmdir(directory)
        }
        try body(directory + "/lock")
    }

    @Test("a lock has one holder")
    func itIsHeldByOne() throws {
        try withPath { path in
            #expect(try !FileLock.isHeld(path))
            #expect(access(path, F_OK) != 0)
            do {
                let lock = try #require(try FileLock(path: path))
                #expect(try FileLock.isHeld(path))
                #expect(try FileLock(path: path) == nil)
                withExtendedLifetime(lock) {}
            }
            #expect(try !FileLock.isHeld(path))
            #expect(try FileLock(path: path) != nil)
        }
    }

    @Test("the lock of a directory has one holder")
    func aDirectoryIsHeldByOne() throws {
        let directory = "/tmp/ipvsd-lock-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        #expect(throws: SystemError.self) { try FileLock(directory: directory) }
        try #require(mkdir(directory, 0o700) == 0)
        defer { rmdir(directory) }
        do {
            let lock = try #require(try FileLock(directory: directory))
            #expect(try FileLock(directory: directory) == nil)
            withExtendedLifetime(lock) {}
        }
        #expect(try FileLock(directory: directory) != nil)
    }

    /// The check is that of `ipvsd status` at the moment of a start.
    @Test("a lock is taken after a concurrent check has ended")
    func aLookKeepsNobodyFromTakingIt() throws {
        try withPath { path in
            _ = try FileLock(path: path)
            let look = open(path, O_RDONLY | O_CLOEXEC)
            #expect(flock(look, LOCK_SH | LOCK_NB) == 0)
            // Another check sees no holder.
            #expect(try !FileLock.isHeld(path))
            let end = Ending(descriptor: look)
            end.start(after: 50_000)
            let lock = try FileLock(path: path)
            end.join()
            #expect(lock != nil)
        }
    }
}

/// A thread that closes a descriptor after a delay.
private final class Ending {
    private struct Task {
        var descriptor: Int32
        var microseconds: UInt32
    }

    private let descriptor: Int32
    private var thread = pthread_t()

    init(descriptor: Int32) { self.descriptor = descriptor }

    func start(after microseconds: UInt32) {
        let task = UnsafeMutablePointer<Task>.allocate(capacity: 1)
        task.initialize(to: Task(descriptor: descriptor, microseconds: microseconds))
        pthread_create(
            &thread, nil,
            { argument in
                if let task = argument?.assumingMemoryBound(to: Task.self) {
                    usleep(task.pointee.microseconds)
                    close(task.pointee.descriptor)
                    task.deallocate()
                }
                return nil
            }, task)
    }

    func join() { pthread_join(thread, nil) }
}
