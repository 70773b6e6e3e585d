internal import CLinux
import Glibc
public import SystemCalls

/// What network devices do besides passing frames on, by `ethtool -k`'s names: "rx-lro", "rx-vlan-hw-parse".
public enum Offload {
    /// Nil where the device has no such feature, or always or never.
    public static func isOn(_ feature: String, of interface: String) throws(SystemError) -> Bool? {
        let state = clinux_get_feature(interface, feature)
        if state < 0 {
            // EOPNOTSUPP: a device without any; ENODEV: one that went away.
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
