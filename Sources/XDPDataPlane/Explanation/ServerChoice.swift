public import Addresses
import LoadBalancing
internal import PacketPrograms

/// The choice of a real server. An explanation shows the next turn of a ring, and does not take it.
public struct ServerChoice: Sendable, Hashable, Encodable {
    /// The method of the choice.
    public enum Method: String, Sendable, Encodable, CaseIterable {
        /// The client's template, in a persistent service.
        case template
        /// The turn in a ring. Each new connection of the service takes one.
        case turn
        /// Two slots of a ring are drawn, by a hash of the number of earlier draws, and their servers are compared.
        case twoChoices = "two-choices"
        /// Numbers of connections and weights are compared.
        case comparison
        /// The VIP has a server (lblc), or a set of servers (lblcr).
        case locality
        /// A hash of the client names a slot of sh's table.
        case sourceHash = "source-hash"
        /// A hash of the client names a slot of the Maglev table.
        case maglev
    }

    public var method: Method
    /// The slot of a ring or hash table at which the search begins, and the table's number of slots. Both are nil where
    /// the method has no table.
    public var slot: Int?
    public var slots: Int?
    /// Whether the hash includes the client's port.
    public var isByPort = false
    /// The number of slots that were skipped, as their servers take no new connections.
    public var passed = 0
    /// The chosen real server; nil where none is available.
    public var server: IPv4Address?

    enum CodingKeys: String, CodingKey { case method, slot, slots, isByPort = "byPort", passed, server }
}

extension ServerChoice {
    init(_ choice: ipvsd_choice, of maps: DirectorMaps) {
        self.init(
            method: Method(choice), slot: choice.slots == 0 || choice.slot == IPVSD_NO_SLOT ? nil : Int(choice.slot),
            slots: choice.slots == 0 ? nil : Int(choice.slots), isByPort: choice.by_port != 0,
            passed: Int(choice.passed), server: maps.address(ofServer: choice.server))
    }
}

extension ServerChoice.Method {
    fileprivate init(_ choice: ipvsd_choice) {
        switch UInt32(choice.method) {
        case IPVSD_METHOD_TEMPLATE.rawValue: self = .template
        case IPVSD_METHOD_MAGLEV.rawValue: self = .maglev
        default: self.init(scheduler: UInt32(choice.scheduler))
        }
    }

    /// `scheduler`: IPVSD_SCHEDULER_
    private init(scheduler: UInt32) {
        switch scheduler {
        case IPVSD_SCHEDULER_NONE.rawValue, IPVSD_SCHEDULER_RING.rawValue: self = .turn
        case IPVSD_SCHEDULER_TWOS.rawValue: self = .twoChoices
        case IPVSD_SCHEDULER_LBLC.rawValue, IPVSD_SCHEDULER_LBLCR.rawValue: self = .locality
        case IPVSD_SCHEDULER_SH.rawValue: self = .sourceHash
        case IPVSD_SCHEDULER_MH.rawValue: self = .maglev
        default: self = .comparison
        }
    }
}
