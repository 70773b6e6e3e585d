internal import BPF
internal import Netlink

/// The devices, addresses and programs that a look at the check path found. Any thread may read them, which takes long on a
/// machine with many devices.
struct CheckPathView: Sendable {
    /// The place of a program that carries checks.
    struct Place: Sendable {
        var interface: Int32
        var direction: BPFProgram.TrafficControlHook.Direction
    }

    let tree: LinkTree
    let addresses: [InterfaceAddress]
    /// Whether each program is in its place.
    let programs: [(place: Place, isThere: Result<Bool, NetlinkError>)]

    init(programsAt places: [Place]) throws(NetlinkError) {
        tree = try LinkTree()
        let socket = try RouteSocket()
        addresses = try socket.addresses()
        programs = places.map { place in
            let isThere = Result { () throws(NetlinkError) in
                try socket.filters(interface: place.interface, ingress: place.direction == .ingress)
                    .contains { $0 == (CheckPrograms.priority, CheckPrograms.handle) }
            }
            return (place, isThere)
        }
    }

    /// Reads the same without keeping the caller's thread.
    @concurrent static func read(programsAt places: [Place]) async throws(NetlinkError) -> CheckPathView {
        try CheckPathView(programsAt: places)
    }
}
