import Glibc
import SystemCalls

/// Mount namespaces of other processes, which /proc leads into.
enum MountNamespace {
    /// The identity of the calling thread's mount namespace.
    static var own: String? { File.link("/proc/thread-self/ns/mnt") }

    /// Pid 1, then the ancestors of this process from the farthest to the nearest, without those whose namespace may
    /// not be read. Where pid 1 refuses (a sandbox), the shell that called `ip netns exec` still has the machine's
    /// mounts.
    static var processes: [Int32] {
        var ancestors: [Int32] = []
        var process = getppid()
        while process > 1, ancestors.count < 64 {
            ancestors.append(process)
            process = parent(of: process) ?? 0
        }
        return ([1] + ancestors.reversed()).filter { namespace(of: $0) != nil }
    }

    static func namespace(of process: Int32) -> String? { File.link("/proc/\(process)/ns/mnt") }

    /// Returns any process in the mount namespace with that identity.
    static func process(in identity: String) -> Int32? {
        (File.list("/proc") ?? []).lazy.compactMap { Int32($0) }.first { namespace(of: $0) == identity }
    }

    /// Returns the fourth field of /proc/PID/stat. The second one, in parentheses, may hold anything.
    private static func parent(of process: Int32) -> Int32? {
        guard let bytes = try? File.read("/proc/\(process)/stat"), let end = bytes.lastIndex(of: UInt8(ascii: ")"))
        else { return nil }
        let fields = String(decoding: bytes[(end + 1)...], as: UTF8.self).split(separator: " ")
        return fields.count > 1 ? Int32(fields[1]) : nil
    }
}
