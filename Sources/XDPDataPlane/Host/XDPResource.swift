internal import Addresses
internal import BPF
internal import DataPlane

/// Something that the XDP data plane has put into its machine and goes on needing there, by the name that log and events
/// use.
enum XDPResource: Hashable, CustomStringConvertible {
    case address(IPAddress, interface: String)
    /// ipvsd0 and ipvsd1, which come and go together.
    case checkDevice
    /// What the next daemon takes over, by the names below the instance's directory on bpffs.
    case pins([String])
    /// "UP", "MTU", ...
    case state(String, of: String)
    /// Below /proc/sys.
    case sysctl(String)
    /// The tc program that carries checks, with the clsact qdisc that it needs.
    case program(BPFProgram.TrafficControlHook.Direction, interface: String)
    /// The tc program on an interface that the packet program is not on.
    case strayProgram(interface: String)
    /// What that program is told.
    case strayPlaces

    var description: String {
        switch self {
        case .address(let address, let interface): "address \(address)/32 on \(interface)"
        case .checkDevice: "device \(CheckDevice.name) (with its peer \(CheckDevice.peerName))"
        case .pins(let names) where names.count > 3:
            "\(names.count) pins (\(names.prefix(3).joined(separator: ", ")), …)"
        case .pins(let names): "\(names.count == 1 ? "pin" : "pins") \(names.joined(separator: ", "))"
        case .state(let state, let device): "\(state) of \(device)"
        case .sysctl(let key): "sysctl \(key.map { $0 == "/" ? "." : "\($0)" }.joined())"
        case .strayProgram(let interface): "program for stray packets on \(interface)"
        case .strayPlaces: "list of interfaces and VIPs of stray packets"
        case .program(let direction, let interface): "\(direction) program of checks on \(interface)"
        }
    }

    var managed: ManagedResource { ManagedResource(description) }
}
