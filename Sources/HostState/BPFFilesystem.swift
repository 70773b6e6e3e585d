internal import CLinux
import Glibc
import Synchronization
import SystemCalls

/// The machine's bpffs, as this process reaches it. `ip netns exec` mounts another /sys, which hides the bpffs. The
/// process then reaches it through the root directory of another process. Such a path is of no use to a later process,
/// so journals hold the canonical path, below /sys/fs/bpf.
public enum BPFFilesystem {
    /// The machine's mount point of bpffs.
    public static let root = "/sys/fs/bpf"
    /// The type of bpffs in statfs(2): BPF_FS_MAGIC.
    private static let magic: UInt64 = 0xCAFE_4A11

    /// A mount of bpffs at `root` in some mount namespace.
    private struct Mount {
        /// The path to the mount for this process.
        let path: String
        /// The open descriptor that `path` goes through. It outlives the process whose root directory led to the mount.
        var descriptor: Int32?
        /// The identity of the mount namespace. Nil: it could not be read.
        let namespace: String?
    }

    /// The bpffs that this process has found. A daemon's pins are there, so the daemon keeps to this bpffs when its
    /// ancestors end, or when another bpffs appears.
    private static let found = Mutex<Mount?>(nil)

    public static func isMounted(at path: String) -> Bool { clinux_filesystem_type(path) == magic }

    /// Returns a path to the machine's bpffs for this process. Nil: no bpffs is visible.
    public static func find() -> String? {
        found.withLock { found in
            if let found, isMounted(at: found.path) { return found.path }
            close(&found)
            found = search()
            return found?.path
        }
    }

    private static func search() -> Mount? {
        if isMounted(at: root) { return Mount(path: root, namespace: MountNamespace.own) }
        for process in MountNamespace.processes {
            let path = "/proc/\(process)/root\(root)"
            guard isMounted(at: path) else { continue }
            let namespace = MountNamespace.namespace(of: process)
            // Pid 1 does not end.
            if process == 1 { return Mount(path: path, namespace: namespace) }
            let descriptor = clinux_open_path(path)
            guard descriptor >= 0 else { continue }
            return Mount(path: "/proc/self/fd/\(descriptor)", descriptor: descriptor, namespace: namespace)
        }
        return nil
    }

    /// Mounts bpffs on /sys/fs/bpf where the whole machine sees it, and returns the path for this process. The mount is
    /// in the mount namespace of pid 1, or else of the farthest ancestor that has such a directory. It is in this
    /// process's own namespace only if pid 1 is there, too, or cannot be inspected.
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

    /// Returns the canonical path of a path of this process. Journals hold canonical paths.
    static func canonical(_ path: String) -> String {
        let prefixes = ["/proc/1/root\(root)"] + (found.withLock(\.self).map { [$0.path] } ?? [])
        for prefix in prefixes where path == prefix || path.hasPrefix(prefix + "/") {
            return root + path.dropFirst(prefix.count)
        }
        return path
    }

    /// Returns the path of this process for a canonical path. Nil: the machine has no bpffs any more. Throws where no
    /// bpffs is visible, but another mount namespace may have one.
    static func resolve(_ path: String) throws(SystemError) -> String? {
        guard path == root || path.hasPrefix(root + "/") else { return path }
        if let found = find() { return found + path.dropFirst(root.count) }
        if MountNamespace.own == MountNamespace.namespace(of: 1) { return nil }
        throw SystemError(
            "find \(path)", code: ENOENT,
            detail:
                "no bpffs is visible from this mount namespace: clean up where the director was started, or mount an empty bpffs here (mount -t bpf bpf \(root)) and repeat the command"
        )
    }

    static func unmountIfEmpty(_ path: String) throws(SystemError) {
        guard let visible = try resolve(path), isMounted(at: visible), File.list(visible)?.isEmpty == true else {
            return
        }
        var code: Int32 = 0
        if visible == path {
            code = clinux_unmount(path) == 0 ? 0 : errno
        } else {
            let namespace = found.withLock { found in
                let namespace = found?.namespace
                // An open descriptor keeps the mount busy.
                close(&found)
                return namespace
            }
            // A mount namespace without processes is gone, and its mounts with it.
            if let process = namespace.flatMap(MountNamespace.process(in:)) {
                code = clinux_unmount_for(process, path)
            }
        }
        // EBUSY: another process uses it. EINVAL: it is not mounted any more.
        if code != 0, code != EBUSY, code != EINVAL { throw SystemError("unmount \(path)", code: code) }
    }

    private static func close(_ found: inout Mount?) {
        if let descriptor = found?.descriptor { Glibc.close(descriptor) }
        found = nil
    }
}

/// The mount namespaces of processes, as /proc shows them.
enum MountNamespace {
    /// The identity of the calling thread's mount namespace.
    static var own: String? { File.link("/proc/thread-self/ns/mnt") }

    /// Pid 1, then the ancestors of this process from the farthest to the nearest, except for processes whose namespace
    /// may not be read. If pid 1 may not be read, as in a sandbox, the shell that called `ip netns exec` still has the
    /// machine's mounts.
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

    /// Returns the process's parent: the fourth field of /proc/PID/stat. The second field, in parentheses, may hold any
    /// characters.
    private static func parent(of process: Int32) -> Int32? {
        guard let bytes = try? File.read("/proc/\(process)/stat"), let end = bytes.lastIndex(of: UInt8(ascii: ")"))
        else { return nil }
        let fields = String(decoding: bytes[(end + 1)...], as: UTF8.self).split(separator: " ")
        return fields.count > 1 ? Int32(fields[1]) : nil
    }
}
