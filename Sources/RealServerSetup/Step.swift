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
        /// The program that strips the outer header, on this interface.
        case attachProgram(interface: String)
        case addRoute(Route)
        case removeRoute(Route)
        case addRule(Rule)
        case removeRule(Rule)
    }

    public let action: Action
    /// One line for people.
    public let description: String
}
