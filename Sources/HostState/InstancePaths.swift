internal import CLinux
import Glibc
import SystemCalls

/// Where one ipvsd of a machine keeps its state. Network namespaces share /run and bpffs, so each has names of its
/// own there.
public struct InstancePaths: Sendable, Hashable {
    /// Nil in the machine's own network namespace, "netns-COOKIE" in others; or the name that the operator gave.
    public let instance: String?
    /// /run/ipvsd[/INSTANCE]
    public let runDirectory: String
    /// State that outlives a reboot: /var/lib/ipvsd[/NAME]. For an instance without a name in a network namespace the run
    /// directory: it ends with its namespace, whose cookie the next boot may give to another one.
    public let stateDirectory: String

    /// For the network namespace of the calling thread. A name is one path component: see `isValid(name:)`.
    public init(name override: String? = nil) {
        precondition(override.map(Self.isValid) ?? true, "a name of letters, digits, '.', '_' and '-'")
        instance = override ?? (Self.isInitialNetworkNamespace ? nil : "netns-\(Self.networkNamespace)")
        runDirectory = Self.base + (instance.map { "/" + $0 } ?? "")
        stateDirectory =
            override == nil && instance != nil ? runDirectory : "/var/lib/ipvsd" + (instance.map { "/" + $0 } ?? "")
    }

    /// With all state below one directory, as tests have it.
    init(directory: String) {
        instance = nil
        runDirectory = directory
        stateDirectory = directory
    }

    private static let base = "/run/ipvsd"

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
    /// Changes that operators made by hand.
    public var overrides: String { stateDirectory + "/overrides.json" }
    /// Events that began and have not ended.
    public var openEvents: String { stateDirectory + "/open-events.json" }

    /// Penalties of flap damping.
    public var damping: String { runDirectory + "/damping.json" }

    /// Journals of directors that may be in the same network namespace under another name.
    public var journalsBeside: [String] {
        let named = (File.list(Self.base) ?? []).filter { !$0.hasPrefix("netns-") }.map { Self.base + "/\($0)" }
        return ([InstancePaths().runDirectory] + named).filter { $0 != runDirectory }.map { $0 + "/journal" }.filter(
            File.exists)
    }

    /// Removes the directory on bpffs that all instances share, where none is in it any more.
    public func removeBPFDirectoryIfEmpty() {
        guard let lock = try? FileLock(path: Self.base + "/bpffs.lock", wait: true) else { return }
        defer { withExtendedLifetime(lock) {} }
        if let root = BPFFilesystem.find() { rmdir(root + "/ipvsd") }
    }

    /// Removes the run directory and the one above it, where nothing is left in them.
    public func removeRunDirectoryIfEmpty() {
        if rmdir(runDirectory) == 0 && instance != nil { rmdir(Self.base) }
    }

    /// Has `body` change the machine by a journal, under a lock in the run directory. `busy`: the error where another
    /// process holds the lock. Tidies up where the journal has nothing to remember.
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

    /// The instance's directory on bpffs, for reading: nil where there is none. Changes nothing.
    public func existingBPFDirectory() -> String? {
        let shared = BPFFilesystem.find().map { $0 + pinSuffix }
        return [shared, ownBPFMount + pinSuffix].lazy.compactMap(\.self).first(where: File.exists)
    }

    /// The directories on bpffs of all instances of this machine, by their names.
    public static var bpfDirectories: [(instance: String?, path: String)] {
        guard let shared = BPFFilesystem.find().map({ $0 + "/ipvsd" }) else { return [] }
        var found: [(instance: String?, path: String)] = [(nil, shared)]
        for name in (File.list(shared) ?? []).sorted() { found.append((name, "\(shared)/\(name)")) }
        return found
    }

    /// The instance's directory on bpffs, made where it is missing, and bpffs mounted where it is missing. With a
    /// `journal` all that is in it before it happens. `path` holds for this process only; `note` is for the operator.
    public func bpfDirectory(
        journal: ChangeJournal? = nil
    ) throws -> (path: String, mounted: Change?, note: String?) {
        // Two that both saw no bpffs would mount one over the other's.
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

    /// Where pid 1 may not be asked: a parameter that the kernel shows in its first network namespace only.
    public static var isInitialNetworkNamespace: Bool {
        if let initial = File.link("/proc/1/ns/net"), let own = File.link("/proc/thread-self/ns/net") {
            return initial == own
        }
        return File.exists("/proc/sys/net/core/netdev_budget")
    }

    /// The name by which `ip netns` knows the network namespace of the calling thread; nil where it has none.
    public static var networkNamespaceName: String? {
        func identity(_ path: String) -> [UInt64]? {
            var status = stat()
            return stat(path, &status) == 0 ? [UInt64(status.st_dev), UInt64(status.st_ino)] : nil
        }
        guard let own = identity("/proc/thread-self/ns/net") else { return nil }
        return (File.list("/run/netns") ?? []).sorted().first { identity("/run/netns/\($0)") == own }
    }

    /// The cookie is never used again, unlike the inode number; kernels before 5.14 have only that one.
    private static var networkNamespace: String {
        let cookie = clinux_network_namespace_cookie()
        if cookie != 0 { return "\(cookie)" }
        return (File.link("/proc/thread-self/ns/net") ?? "").filter(\.isNumber)
    }
}
