public import Addresses
internal import BPF
public import LoadBalancing
internal import PacketPrograms

/// How full the tables are.
extension XDPDataPlane {
    /// Rows, of those that can be given out; slots that were freed a moment ago count as used.
    public var tableUse: [(name: String, size: Int, used: Int)] {
        [
            ("services", maps.services.count - 1, serviceRows.usedCount),
            ("servers", maps.servers.count - 1, serverRows.usedCount),
            ("paths", maps.nextHops.count - 1, pathRows.usedCount),
            ("slots", Int(IPVSD_SLOT_GROUP) * (maps.slots.count - 1), slices.usedCount),
        ] + (maps.templateUse.map { [("templates", Int($0.limit), Int($0.used))] } ?? [])
    }

    /// Connections of a real server of the service that has this listener; nil where there is no such.
    public func load(of server: IPv4Address, service: ServiceAddress) -> (active: UInt32, inactive: UInt32)? {
        serverID(service: service, server: server).map { id in
            let load = maps.connectionCounts[Int(id)]
            return (load.active, load.inactive)
        }
    }
}
