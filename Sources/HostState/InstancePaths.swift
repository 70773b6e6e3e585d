internal import CLinux
import Glibc
import SystemCalls

/// The paths of an instance's state. Network namespaces share /run and bpffs, so each instance has directories of its
/// own there.
public struct InstancePaths: Sendable, Hashable {
    /// The name that the operator gave, or else "netns-COOKIE". Nil: an unnamed instance in the machine's first network
    /// namespace.
    public let instance: String?
    /// The directory /run/ipvsd[/INSTANCE].
    public let runDirectory: String
    /// The directory of state that outlives a reboot: /var/lib/ipvsd[/NAME]. For an unnamed instance of another network
    /// namespace, it is the run directory. Such an instance ends with its namespace, and another namespace may have the
    /// cookie after the next boot.
    public let stateDirectory: String

    /// Creates the paths of the instance of that name, or of the calling thread's network namespace. Traps if a name is
    /// not valid, see `isValid(name:)`.
    public init(name override: String? = nil) {
        precondition(override.map(Self.isValid) ?? true, "a name of letters, digits, '.', '_' and '-'")
        instance = override ?? (Self.isInitialNetworkNamespace ? nil : "netns-\(Self.networkNamespace)")
        runDirectory = Self.base + (instance.map { "/" + $0 } ?? "")
        stateDirectory =
            override == nil && instance != nil ? runDirectory : "/var/lib/ipvsd" + (instance.map { "/" + $0 } ?? "")
    }

    /// Creates paths below one directory, for tests.
    init(directory: String) {
        instance = nil
        runDirectory = directory
        stateDirectory = directory
    }

    private static let base = "/run/ipvsd"

    /// Whether the name is one path component of letters, digits, ".", "_" and "-".
    public static func isValid(name: String) -> Bool {
        (1...64).contains(name.utf8.count) && !name.hasPrefix(".")
            && name.utf8.allSatisfy { character in
                switch character {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                    true
                default: false
                }
            }
    }

    public var journal: String { runDirectory + "/journal" }
    public var realServerJournal: String { runDirectory + "/realserver.journal" }
    public var tunnelJournal: String { runDirectory + "/tunnels.journal" }
    public var lock: String { runDirectory + "/lock" }
    public var controlSocket: String { runDirectory + "/control.sock" }
    public var pidFile: String { runDirectory + "/pid" }
    /// The file of changes that operators made by hand, such as drains.
    public var overrides: String { stateDirectory + "/overrides.json" }
    /// The file of events without an end yet.
    public var openEvents: String { stateDirectory + "/open-events.json" }

    /// The file of penalties of flap damping.
    public var damping: String { runDirectory + "/damping.json" }

    /// The journals of other instances that may be in the same network namespace.
    public var journalsBeside: [String] {
        let named = (File.list(Self.base) ?? []).filter { !$0.hasPrefix("netns-") }.map { Self.base + "/\($0)" }
        return ([InstancePaths().runDirectory] + named).filter { $0 != runDirectory }.map { $0 + "/journal" }.filter(
            File.exists)
    }

    /// Removes the directory on bpffs that all instances share, if it is empty.
    public func removeBPFDirectoryIfEmpty() {
        guard let lock = try? FileLock(path: Self.base + "/bpffs.lock", wait: true) else { return }
        defer { withExtendedLifetime(lock) {} }
        if let root = BPFFilesystem.find() { rmdir(root + "/ipvsd") }
    }

    /// Removes the run directory and the directory above it, if they are empty.
    public func removeRunDirectoryIfEmpty() {
        if rmdir(runDirectory) == 0 && instance != nil { rmdir(Self.base) }
    }

    /// Calls `body` with a journal, under a lock in the run directory. Throws `busy` if another process holds the lock.
    /// Removes lock and directory if the journal is empty afterwards.
    public func changing<Result>(
        journal path: String, lock name: String, busy: any Error, _ body: (ChangeJournal) throws -> Result
    ) throws -> Result {
        guard let lock = try FileLock(path: "\(runDirectory)/\(name)") else { throw busy }
        let journal = try ChangeJournal(path: path)
        defer {
            if journal.changes.isEmpty {
                lock.removeFile()
                removeRunDirectoryIfEmpty()
            }
        }
        return try body(journal)
    }

    /// Returns the instance's directory on bpffs. Nil: there is none. Changes nothing.
    public func existingBPFDirectory() -> String? {
        let shared = BPFFilesystem.find().map { $0 + pinSuffix }
        return [shared, ownBPFMount + pinSuffix].lazy.compactMap(\.self).first(where: File.exists)
    }

    /// The directories of all instances on bpffs, with the instances' names.
    public static var bpfDirectories: [(instance: String?, path: String)] {
        guard let shared = BPFFilesystem.find().map({ $0 + "/ipvsd" }) else { return [] }
        var found: [(instance: String?, path: String)] = [(nil, shared)]
        for name in (File.list(shared) ?? []).sorted() { found.append((name, "\(shared)/\(name)")) }
        return found
    }

    /// Returns the instance's directory on bpffs. Creates the directory, and mounts bpffs, if they are missing. The
    /// changes are entered into the `journal` before they are made. `path` is valid for this process only. `mounted` is
    /// the mount of bpffs, or nil if bpffs was there. `note` is a warning for the operator, or nil.
    public func bpfDirectory(
        journal: ChangeJournal? = nil
    ) throws -> (path: String, mounted: Change?, note: String?) {
        // Without the lock, two processes that see no bpffs would both mount one, the second over the first.
        let lock = try FileLock(path: Self.base + "/bpffs.lock", wait: true)
        defer { withExtendedLifetime(lock) {} }
        var mounted: Change?
        var note: String?
        let root: String
        do {
            if let found = BPFFilesystem.find() {
                root = found
            } else {
                root = try mount(journal, path: BPFFilesystem.root, BPFFilesystem.mount)
                mounted = .mount(path: BPFFilesystem.root)
            }
        } catch {
            root = ownBPFMount
            note = "\(error): state lives only as long as this mount namespace"
            if !BPFFilesystem.isMounted(at: root) {
                _ = try mount(journal, path: root) {
                    try File.makeDirectory(root)
                    guard clinux_mount_bpffs(root) == 0 else { throw SystemError("mount bpffs on \(root)") }
                    return root
                }
                mounted = .mount(path: root)
            }
        }
        var directory = root
        for component in pinSuffix.split(separator: "/") {
            directory += "/" + component
            if File.exists(directory) { continue }
            let make = { try File.makeDirectory(directory) }
            if let journal { try journal.make(.directory(path: directory), make) } else { try make() }
        }
        return (directory, mounted, note)
    }

    private func mount(
        _ journal: ChangeJournal?, path: String, _ action: () throws -> String
    ) throws -> String {
        guard let journal else { return try action() }
        var result = path
        try journal.make(.mount(path: path)) { result = try action() }
        return result
    }

    private var ownBPFMount: String { runDirectory + "/bpf" }
    private var pinSuffix: String { "/ipvsd" + (instance.map { "/" + $0 } ?? "") }

    /// Whether the calling thread is in the machine's first network namespace. Where pid 1 cannot be inspected, the
    /// presence of a sysctl that exists only in that namespace decides.
    public static var isInitialNetworkNamespace: Bool {
        if let initial = File.link("/proc/1/ns/net"), let own = File.link("/proc/thread-self/ns/net") {
            return initial == own
        }
        return File.exists("/proc/sys/net/core/netdev_budget")
    }

    /// The name of the calling thread's network namespace in `ip netns`. Nil: the namespace has none.
    public static var networkNamespaceName: String? {
        func identity(_ path: String) -> [UInt64]? {
            var status = stat()
            return stat(path, &status) == 0 ? [UInt64(status.st_dev), UInt64(status.st_ino)] : nil
        }
        guard let own = identity("/proc/thread-self/ns/net") else { return nil }
        return (File.list("/run/netns") ?? []).sorted().first { identity("/run/netns/\($0)") == own }
    }

    /// The cookie of the network namespace, which is unique until a reboot. Kernels before 5.14 have no cookie, and the
    /// inode number takes its place.
    private static var networkNamespace: String {
        let cookie = clinux_network_namespace_cookie()
        if cookie != 0 { return "\(cookie)" }
        return (File.link("/proc/thread-self/ns/net") ?? "").filter(\.isNumber)
    }
}
