internal import PacketPrograms

/// The listeners of layout 3 as listeners of layout 4. There a flow's key has the number of its VIP and protocol, in the place
/// where layout 3 had a number of each listener.
enum Layout4 {
    typealias Listener = (key: ipvsd_listener_key, value: ipvsd_listener_value)

    /// The number of a VIP and a protocol is the lowest that their listeners had: the flows of that listener, in most
    /// services all flows, keep their keys. The others are moved, and until then found by `former`.
    static func rows(of listeners: [Listener]) -> [Listener] {
        var lowest: [Destination: UInt16] = [:]
        for (key, value) in listeners {
            lowest[Destination(key), default: value.destination] = min(
                lowest[Destination(key)] ?? .max, value.destination)
        }
        return listeners.map { key, value in
            var value = value
            let number = lowest[Destination(key)] ?? value.destination
            (value.former, value.destination) = (number == value.destination ? 0 : value.destination, number)
            return (key, value)
        }
    }
}
