internal import LoadBalancing
internal import Netlink
internal import PacketPrograms

/// What the maps say that bears on one packet: values, of a moment.
public struct PacketTables: Sendable {
    struct Listener: Sendable {
        /// As it is configured: a port, or all of a VIP.
        var address: ServiceAddress
        var service: UInt32
        /// By which the flow table tells listeners apart.
        var flowID: UInt16
        /// IPVSD_SERVICE_
        var flags: UInt32

        func has(_ flags: UInt32) -> Bool { self.flags & flags != 0 }
    }

    struct Service: Sendable {
        var row: ipvsd_service
        /// All that clients find it at.
        var listeners: [ServiceAddress]
        /// Server ids, 0 for none.
        var slots: [UInt32]
        var maglev: [UInt32]

        /// IPVSD_SCHEDULER_
        var kind: UInt32 { ipvsd_slice_scheduler(row.schedule) }
        var isByPort: Bool { ipvsd_slice_flags(row.schedule) & IPVSD_SCHEDULER_BY_PORT != 0 }
        var fallsBack: Bool { ipvsd_slice_flags(row.schedule) & IPVSD_SCHEDULER_FALLBACK != 0 }
        /// Every director makes the same choice for a client.
        var isHashBased: Bool { ipvsd_scheduler_is_hash(kind) }
        var comparesBy: Scheduler? {
            switch kind {
            case IPVSD_SCHEDULER_TWOS.rawValue: .twos
            case IPVSD_SCHEDULER_LC.rawValue: .lc
            case IPVSD_SCHEDULER_WLC.rawValue: .wlc
            case IPVSD_SCHEDULER_SED.rawValue: .sed
            case IPVSD_SCHEDULER_NQ.rawValue: .nq
            case IPVSD_SCHEDULER_OVF.rawValue: .ovf
            case IPVSD_SCHEDULER_LBLC.rawValue: .lblc
            case IPVSD_SCHEDULER_LBLCR.rawValue: .lblcr
            default: nil
            }
        }
        /// In host byte order.
        var netmask: UInt32 { UInt32(bigEndian: row.netmask) }
    }

    struct Server: Sendable {
        var id: UInt32
        var row: ipvsd_server
        var load: ipvsd_conn_counts
        var path: Path?

        var address: IPv4Address { IPv4Address(bigEndian: row.address) }
        func has(_ flags: UInt32) -> Bool { UInt32(row.flags) & flags != 0 }
        var isOverloaded: Bool { row.isOverloaded(by: load) }
        var isAvailable: Bool { row.weight > 0 && !isOverloaded }
    }

    struct Settings: Sendable {
        var ingressMTU: Int
        var seed: UInt64
        /// By state, in ticks.
        var timeouts: [UInt16]
        var silentAfter: UInt32
        var halfOpenLimit: UInt32
        /// 0: packets that would have to be fragmented are dropped.
        var fragmentingInterface: Int32
        /// Of frames that are for the director; none: whatever comes is for it.
        var ownMACs: [MACAddress]
        var outerSources: IPv4Prefix?
        /// Of each CPU.
        var repliesPerSecond: UInt32
    }

    /// The places that a flow may have in the flow table.
    struct Places: Sendable {
        struct Entry: Sendable {
            var key: UInt64
            var value: UInt64
        }

        var home: FlowHome
        /// Eight ways each, in the order in which the flow tries them.
        var first: [Entry]
        var second: [Entry]
        /// While the table grows: its buckets in the smaller one before it.
        var former: [[Entry]]
        /// Flows of the bucket are, or were, in their second one.
        var hasSpilled: Bool
        /// When a flow of the bucket last found no room; 0: never.
        var overflowStamp: UInt16
    }

    struct Pressure: Sendable {
        var halfOpen: Int32
        /// When the limit of half-open connections was last reached; 0: never.
        var last: UInt32
        /// When a daemon last swept; 0: none has yet.
        var swept: UInt32
    }

    /// The tick at which all this was so.
    var now: UInt32
    var isVIP: Bool
    /// The client's address is a VIP, too.
    var isClientVIP: Bool
    var listener: Listener?
    /// The row that the listener names.
    var service: Service?
    /// Those of the service, also removed ones, and those that the connection and the template name.
    var servers: [UInt32: Server]
    var settings: Settings
    var places: Places?
    var template: ipvsd_template?
    var pressure: Pressure

    var shortNow: UInt16 { UInt16(truncatingIfNeeded: now) }
}
