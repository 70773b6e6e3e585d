internal import CLinux
import Glibc
import Netlink
public import SystemCalls

/// Kernel parameters of the calling thread's network namespace. A key is the path below /proc/sys, such as
/// "net/ipv4/conf/eth0.10/rp_filter", so that a dot in an interface's name needs no escape.
public enum Sysctl {
    public static func exists(_ key: String) -> Bool { File.exists("/proc/sys/\(key)") }

    /// Returns the interface in a key below net/ipv4/conf and the like, or nil for other keys.
    static func interface(of key: String) -> String? {
        let parts = key.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 5, ["conf", "neigh"].contains(parts[2]), !["all", "default"].contains(parts[3]) else {
            return nil
        }
        return String(parts[3])
    }

    /// Returns the key of the same parameter of another interface.
    static func key(_ key: String, of interface: String) -> String {
        var parts = key.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        parts[3] = interface
        return parts.joined(separator: "/")
    }

    /// Returns the value without the newline.
    public static func read(_ key: String) throws(SystemError) -> String {
        let text = String(decoding: try File.read("/proc/sys/\(key)"), as: UTF8.self)
        return String(text.prefix { $0 != "\n" })
    }

    public static func write(_ key: String, _ value: String) throws(SystemError) {
        do throws(SystemError) {
            try File.write(Array("\(value)\n".utf8), to: "/proc/sys/\(key)")
        } catch {
            throw SystemError("set \(key) to \(value)", code: error.code)
        }
    }
}

/// Features of network devices by their names in `ethtool -k`, such as "rx-lro" and "rx-vlan-hw-parse".
public enum Offload {
    /// Whether the feature is on. Nil: the device does not have it, or it cannot be changed.
    public static func isOn(_ feature: String, of interface: String) throws(SystemError) -> Bool? {
        let state = clinux_get_feature(interface, feature)
        if state < 0 {
            // EOPNOTSUPP: the device has no features. ENODEV: the device is gone.
            if [ENOTSUP, EOPNOTSUPP, ENODEV].contains(errno) { return nil }
            throw SystemError("read feature \(feature) of \(interface)")
        }
        return state == 1
    }

    public static func set(_ feature: String, of interface: String, on: Bool) throws(SystemError) {
        if clinux_set_feature(interface, feature, on ? 1 : 0) != 0 {
            throw SystemError("turn \(feature) of \(interface) \(on ? "on" : "off")")
        }
    }
}

/// Kernel modules, which modprobe(8) loads and removes.
public enum KernelModule {
    /// Whether the module is loaded or built in.
    public static func isPresent(_ name: String) -> Bool { File.exists("/sys/module/\(name)") }

    /// Whether the module is present, or modprobe finds it. Changes nothing.
    public static func isAvailable(_ name: String) -> Bool {
        isPresent(name) || run(["--dry-run", "--quiet", name]) == 0
    }

    public static func load(_ name: String) throws(SystemError) {
        let status = run(["--quiet", name])
        if status != 0 {
            throw SystemError("load kernel module \(name)", code: ENOENT, detail: "modprobe: status \(status)")
        }
    }

    /// Unloads a module of tunnel devices. The kernel would unload it even while devices are in use. So the module
    /// stays while a network namespace that can be found has such a device that is up.
    static func unloadIfUnused(_ name: String) throws(SystemError) {
        guard isPresent(name), !isUsedAnywhere(kind: name) else { return }
        // The module stays where modprobe refuses, as it is in use or built in.
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
                // To continue in another network namespace would be worse than to end.
                precondition(clinux_enter_namespace(own) == 0, "return to the network namespace")
            }
            let links = (try? RouteSocket().links()) ?? []
            return links.contains { $0.kind == kind && $0.isUp }
        }
    }

    private static func run(_ arguments: [String]) -> Int32 { Command.status("modprobe", arguments) }
}

/// A privilege of a process that need not be root (capabilities(7)).
package enum Capability: String, CaseIterable {
    case bpf = "CAP_BPF"
    case netAdmin = "CAP_NET_ADMIN"
    case netRaw = "CAP_NET_RAW"

    /// The numbers of the capabilities, of which one suffices. CAP_SYS_ADMIN includes CAP_BPF, which is newer.
    private var bits: [Int32] {
        switch self {
        case .bpf: [CAP_BPF, CAP_SYS_ADMIN]
        case .netAdmin: [CAP_NET_ADMIN]
        case .netRaw: [CAP_NET_RAW]
        }
    }

    /// Whether the privilege is in the effective set of this process.
    package var isHeld: Bool {
        let held = clinux_effective_capabilities()
        return bits.contains { held >> UInt64($0) & 1 == 1 }
    }
}
