/// One of the counters that a data plane keeps of packets to VIPs. `received` is the sum of all that is not an event.
public struct PacketCounter: Sendable, Hashable {
    public enum Group: Sendable {
        case received, forwarded, passed, answered, dropped
        /// Counted besides one of the others.
        case event
    }

    /// The position among the data plane's counters.
    public let index: Int
    public let name: String
    public let group: Group

    public init(index: Int, name: String, group: Group) {
        self.index = index
        self.name = name
        self.group = group
    }
}
