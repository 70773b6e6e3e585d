internal import CLinux
import Glibc
import Synchronization
import SystemCalls

/// Finds the machine's bpffs. `ip netns exec` mounts another /sys and so hides it; then it is reached through another
/// process's view. Such a path is of no use to a later process, so journals hold the canonical one, below
/// /sys/fs/bpf.
public enum BPFFilesystem {
    /// Where it belongs, and where operators look for it.
    public static let root = "/sys/fs/bpf"
    /// BPF_FS_MAGIC
    private static let magic: UInt64 = 0xCAFE_4A11

    /// A descriptor of the machine's bpffs, as /proc/self/fd/N: unlike /proc/PID/root it outlives the process.
    private static let borrowed = Mutex<String?>(nil)

    public static func isMounted(at path: String) -> Bool { clinux_filesystem_type(path) == magic }

    /// A path to the machine's bpffs for this process; nil where there is none, or none to be seen.
    public static func find() -> String? {
        if isMounted(at: root) { return root }
        for process in MountNamespace.processes {
            let path = "/proc/\(process)/root\(root)"
            guard isMounted(at: path) else { continue }
            return process == 1 ? path : borrow(path)
        }
        return nil
    }

    private static func borrow(_ path: String) -> String? {
        borrowed.withLock { borrowed in
            if let borrowed, isMounted(at: borrowed) { return borrowed }
            let descriptor = clinux_open_path(path)
            borrowed = descriptor < 0 ? nil : "/proc/self/fd/\(descriptor)"
            return borrowed
        }
    }

    /// Mounts it on /sys/fs/bpf where all the machine sees it: in the namespace of pid 1, or else of our farthest
    /// ancestor that has such a directory. In our own only if pid 1 is in it too or cannot be asked. Returns the path
    /// for this process.
    static func mount() throws(SystemError) -> String {
        var code = EPERM
        let own = MountNamespace.own
        let isPrivate = MountNamespace.namespace(of: 1).map { $0 != own } ?? false
        for process in MountNamespace.processes where MountNamespace.namespace(of: process) != own {
            code = clinux_mount_bpffs_for(process, root)
            if code == 0, let path = find() { return path }
        }
        if !isPrivate {
            code = clinux_mount_bpffs(root) == 0 ? 0 : errno
            if code == 0, let path = find() { return path }
        }
        throw SystemError("mount bpffs on \(root)", code: code)
    }

    /// The path that a journal holds.
    static func canonical(_ path: String) -> String {
        let prefixes = ["/proc/1/root\(root)"] + (borrowed.withLock(\.self).map { [$0] } ?? [])
        for prefix in prefixes where path == prefix || path.hasPrefix(prefix + "/") {
            return root + path.dropFirst(prefix.count)
        }
        return path
    }

    /// The path of this process for a canonical one; nil where there is no bpffs any more.
    static func resolve(_ path: String) -> String? {
        guard path == root || path.hasPrefix(root + "/") else { return path }
        return find().map { $0 + path.dropFirst(root.count) }
    }

    static func unmountIfEmpty(_ path: String) throws(SystemError) {
        guard let visible = resolve(path), isMounted(at: visible), File.list(visible)?.isEmpty == true else { return }
        var code: Int32 = 0
        if visible == path {
            code = clinux_unmount(path) == 0 ? 0 : errno
        } else {
            for process in MountNamespace.processes where isMounted(at: "/proc/\(process)/root\(path)") {
                returnBorrowed()
                code = clinux_unmount_for(process, path)
                break
            }
        }
        // Busy: somebody works in it. Invalid: no mount any more.
        if code != 0, code != EBUSY, code != EINVAL { throw SystemError("unmount \(path)", code: code) }
    }

    private static func returnBorrowed() {
        borrowed.withLock { borrowed in
            if let number = borrowed.flatMap({ Int32($0.split(separator: "/").last ?? "") }) { close(number) }
            borrowed = nil
        }
    }
}
