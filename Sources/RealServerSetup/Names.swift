import Netlink

extension RealServerSetup {
    /// The device that unwraps, and holds the VIPs.
    public static var deviceName: String { Names.device }
    /// Of the tc filter of the program that unwraps where the kernel has no ipip.
    public static var filterPriority: UInt32 { Names.filterPriority }
    /// Devices that a director on the same machine made for itself.
    public static var directorDevices: Set<String> { Names.directorDevices }
}

/// The names by which what we put into the machine is known, listed and removed.
enum Names {
    static let device = "tunl0"
    static let module = "ipip"
    /// A director's own, on a machine that is both.
    static let directorDevices: Set<String> = ["ipvsd0", "ipvsd1"]
    /// The routing table to which older versions led answers from the VIPs.
    static let table: UInt32 = 19_800
    /// Their routes' and rules' RTPROT_*: `ip route show table 19800 proto 198`.
    static let routeProtocol: UInt8 = 198
    static func isOurs(_ rule: Rule) -> Bool { rule.table == table && rule.protocolID == routeProtocol }
    /// The tc filter's; its handle is tunl0's index, so that a filter for a tunl0 that is gone is told apart.
    static let filterPriority: UInt32 = 198
}
