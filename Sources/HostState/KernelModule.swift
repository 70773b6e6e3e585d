internal import CLinux
import Glibc
import Netlink
public import SystemCalls

/// Kernel modules, by modprobe(8).
public enum KernelModule {
    /// Loaded or built in.
    public static func isPresent(_ name: String) -> Bool { File.exists("/sys/module/\(name)") }

    /// Present, or there for modprobe to load. Changes nothing.
    public static func isAvailable(_ name: String) -> Bool {
        isPresent(name) || run(["--dry-run", "--quiet", name]) == 0
    }

    public static func load(_ name: String) throws(SystemError) {
        let status = run(["--quiet", name])
        if status != 0 {
            throw SystemError("load kernel module \(name)", code: ENOENT, detail: "modprobe: status \(status)")
        }
    }

    /// Unloads a module of tunnel devices, which the kernel would do over the heads of their users: so not while any
    /// network namespace to be found has a device of that kind that is up.
    static func unloadIfUnused(_ name: String) throws(SystemError) {
        guard isPresent(name), !isUsedAnywhere(kind: name) else { return }
        // In use after all, or built in: it stays.
        _ = run(["--remove", "--quiet", name])
    }

    private static func isUsedAnywhere(kind: String) -> Bool {
        let own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
        guard own >= 0 else { return true }
        defer { close(own) }
        let named = (File.list("/run/netns") ?? []).map { "/run/netns/\($0)" }
        let ofProcesses = (File.list("/proc") ?? []).filter { Int32($0) != nil }.map { "/proc/\($0)/ns/net" }
        var seen: Set<String> = []
        return (named + ofProcesses).contains { path in
            if let identity = File.link(path), !seen.insert(identity).inserted { return false }
            let namespace = open(path, O_RDONLY | O_CLOEXEC)
            guard namespace >= 0 else { return false }
            defer { close(namespace) }
            guard clinux_enter_namespace(namespace) == 0 else { return false }
            defer {
                // It was ours a moment ago: to go on in another one would be worse than to end.
                precondition(clinux_enter_namespace(own) == 0, "return to the network namespace")
            }
            let links = (try? RouteSocket().links()) ?? []
            return links.contains { $0.kind == kind && $0.isUp }
        }
    }

    private static func run(_ arguments: [String]) -> Int32 { Command.status("modprobe", arguments) }
}
