import Glibc
public import SystemCalls

/// Kernel parameters of the network namespace of the calling thread. A key is the path below /proc/sys:
/// "net/ipv4/conf/eth0.10/rp_filter", so that a dot in an interface's name needs no escape.
public enum Sysctl {
    public static func exists(_ key: String) -> Bool { File.exists("/proc/sys/\(key)") }

    /// The interface that a key below net/ipv4/conf and the like names.
    static func interface(of key: String) -> String? {
        let parts = key.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 5, ["conf", "neigh"].contains(parts[2]), !["all", "default"].contains(parts[3]) else {
            return nil
        }
        return String(parts[3])
    }

    /// The same parameter of another interface.
    static func key(_ key: String, of interface: String) -> String {
        var parts = key.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        parts[3] = interface
        return parts.joined(separator: "/")
    }

    /// Without the newline.
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
