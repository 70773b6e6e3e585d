import Glibc
public import SystemCalls

/// Kernel parameters of the network namespace of the calling thread. A key is the path below /proc/sys:
/// "net/ipv4/conf/eth0.10/rp_filter", so that a dot in an interface's name needs no escape.
public enum Sysctl {
    public static func exists(_ key: String) -> Bool { File.exists("/proc/sys/\(key)") }

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
