import Glibc
import HostState
import SystemCalls

/// Who sets up the network when the machine starts, and so by whom a real server's set-up outlives a restart.
public enum HostManager: String, CaseIterable, Sendable {
    /// systemd-networkd: our own unit, and networkd told to leave tunl0 alone.
    case networkd
    /// ifup(8): a script that it calls for every interface that comes up, and our own unit.
    case ifupdown
    /// systemd under any other manager, or none: our own unit.
    case unit

    /// Nil where none of them runs, as in a container without an init of its own.
    public static var running: HostManager? { detect(exists: File.exists, read: { try? File.read($0) }) }

    static func detect(exists: (String) -> Bool, read: (String) -> [UInt8]?) -> HostManager? {
        if exists("/run/systemd/system"), exists("/run/systemd/netif/state") { return .networkd }
        if hasBroughtUp(read("/run/network/ifstate")), exists("/etc/network/if-up.d") { return .ifupdown }
        // sd_booted(3)
        return exists("/run/systemd/system") ? .unit : nil
    }

    public static var hasSystemd: Bool { File.exists("/run/systemd/system") }

    /// Whether ifup's list, lines of INTERFACE=STANZA, holds more than the loopback.
    private static func hasBroughtUp(_ state: [UInt8]?) -> Bool {
        String(decoding: state ?? [], as: UTF8.self).split(separator: "\n").contains { !$0.hasPrefix("lo=") }
    }
}
