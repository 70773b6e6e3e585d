import HostState
public import LoadBalancing
public import Netlink

/// One difference between the machine as it is and a real server, in the order in which they are made.
public struct Step: Sendable, Hashable, CustomStringConvertible {
    public enum Action: Sendable, Hashable {
        case loadModule(String)
        /// The kernel's ipip device, unless loading the module made it appear.
        case createTunnel
        /// The stand-in for kernels without ipip.
        case createTUN
        case setSysctl(key: String, value: String)
        case setUp
        case addAddress(IPv4Address)
        /// One that stands in the VIP's way.
        case removeAddress(InterfaceAddress, interface: String)
        /// The program that strips the outer header, on this interface.
        case attachProgram(interface: String)
        /// Replaces nftables' rules that lower the MSS.
        case lowerSegments(SegmentRules)
        case removeSegmentRules
        /// Where nftables cannot: the program that lowers the MSS, on this interface. Size 0: as its MTU asks for.
        case attachSegmentProgram(IPv4Address, size: UInt32, interface: String)
        case detachSegmentProgram(SegmentProgram, interface: String)
        /// What older versions made: copies of routes, with the MSS, and rules that lead there.
        case removeRoute(Route)
        case removeRule(Rule)
        /// What has all of this made again when the machine starts.
        case write(BootFile)
        case removeFile(String)
        /// systemd is to read its files again.
        case reload
    }

    public let action: Action
    /// One line for people.
    public let description: String
}

extension Step {
    /// What it would write.
    public var fileText: String? {
        guard case .write(let file) = action, case .text(let text, _) = file.contents else { return nil }
        return text
    }

    /// What the comparison with a real server does not see: a kernel parameter that the operator may have meant.
    public static func setSysctl(_ key: String, to value: String) -> Step {
        Step(action: .setSysctl(key: key, value: value), description: "set sysctl \(key) to \(value)")
    }

    public static func removeAddress(_ entry: InterfaceAddress, from interface: String) -> Step {
        Step(
            action: .removeAddress(entry, interface: interface),
            description: "remove address \(entry.address)/\(entry.prefixLength) from \(interface)")
    }
}
