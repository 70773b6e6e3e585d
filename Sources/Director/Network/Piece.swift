internal import BPF
internal import LoadBalancing

/// Something that a director has put into its machine and goes on needing there, by the name that log and events use.
enum Piece: Hashable, CustomStringConvertible {
    case address(IPv4Address, interface: String)
    /// ipvsd0 and ipvsd1, which come and go together.
    case checkDevice
    /// "UP", "MTU", ...
    case state(String, of: String)
    /// Below /proc/sys.
    case sysctl(String)
    /// The tc program that carries checks, with the clsact qdisc that it needs.
    case program(BPFProgram.TrafficControlHook.Direction, interface: String)

    var description: String {
        switch self {
        case .address(let address, let interface): "address \(address)/32 on \(interface)"
        case .checkDevice: "device \(CheckDevice.name) (with its peer \(CheckDevice.peerName))"
        case .state(let state, let device): "\(state) of \(device)"
        case .sysctl(let key): "sysctl \(key.map { $0 == "/" ? "." : "\($0)" }.joined())"
        case .program(let direction, let interface): "\(direction) program of checks on \(interface)"
        }
    }
}
