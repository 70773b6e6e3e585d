public import Addresses
public import BPF
internal import Glibc
import LoadBalancing
internal import PacketPrograms

/// An entry of the flow table.
public struct Flow: Sendable {
    public enum State: String, Sendable, CaseIterable, Codable {
        case synReceived = "SYN_RECV"
        case established = "ESTABLISHED"
        case finWait = "FIN_WAIT"
        case timeWait = "TIME_WAIT"
        case closed = "CLOSE"
        case udp = "UDP"
    }

    public var transport: TransportProtocol
    public var client: IPAddress
    public var clientPort: UInt16
    public var vip: IPAddress
    public var port: UInt16
    public var server: IPAddress
    public var state: State
    /// The time until the flow expires without another packet.
    public var remaining: Duration
}

/// Reads the flow table in place, with or without a daemon.
public struct FlowScan {
    private let maps: DirectorMaps
    /// The VIP and protocol of each number in a flow's key.
    private let destinations: [UInt16: (vip: UInt32, transport: TransportProtocol)]
    private let listeners: Set<UInt64>
    private let servers: [IPAddress?]
    /// The time-out of each state, in ticks.
    private let timeouts: [UInt16]
    private let now: UInt16

    /// Opens the flow table; nil where there is no data plane below `directory`.
    public init?(directory: String) throws(BPFError) {
        guard let maps = try DirectorMaps(directory: directory, writable: false),
            let tick = try XDPDataPlane.tick(below: directory)
        else { return nil }
        self.maps = maps
        now = UInt16(truncatingIfNeeded: tick)
        timeouts = maps.timeouts
        var destinations: [UInt16: (UInt32, TransportProtocol)] = [:]
        var listeners: Set<UInt64> = []
        for (key, value) in try maps.listeners.entries() {
            guard let transport = TransportProtocol.allCases.first(where: { $0.number == key.protocol }) else {
                continue
            }
            for number in [value.destination, value.former] where number != 0 {
                destinations[number] = (key.vip, transport)
            }
            listeners.insert(ipvsd_listener_word(key.vip, key.port, key.protocol))
        }
        (self.destinations, self.listeners) = (destinations, listeners)
        servers = (0..<maps.servers.count).map { id in
            let row = maps.servers[id]
            return row.flags & UInt16(IPVSD_SERVER_USED) == 0 ? nil : .v4(IPv4Address(bigEndian: row.address))
        }
    }

    /// Calls `body` for every flow that has not expired. A flow that comes or goes meanwhile may be missed, but none is
    /// invented.
    public func forEach(_ body: (Flow) throws -> Void) rethrows {
        for table in [maps.flows] + (maps.isMigrating ? [maps.oldFlows].compactMap(\.self) : []) {
            for bucket in 0..<table.count {
                let entries = table.entries(ofBucket: bucket)
                for way in 0..<Int(IPVSD_WAYS) {
                    if let flow = flow((entries + way).load()) { try body(flow) }
                }
            }
        }
    }

    private func flow(_ entry: ipvsd_flow) -> Flow? {
        if entry.value == 0 { return nil }
        let state = ipvsd_flow_state(entry.value)
        let timeout = timeouts[Int(state)]
        let idle = ipvsd_stamp_age(ipvsd_flow_stamp(entry.value), now)
        guard idle <= timeout, let (vip, transport) = destinations[ipvsd_flow_destination(entry.key)],
            hasListener(vip: vip, port: ipvsd_flow_port(entry.value), transport: transport),
            let server = servers[Int(ipvsd_flow_server(entry.value)) % servers.count],
            let name = Flow.State(rawState: Int(state))
        else { return nil }
        return Flow(
            transport: transport, client: .v4(IPv4Address(bigEndian: ipvsd_flow_client(entry.key))),
            clientPort: UInt16(bigEndian: ipvsd_flow_client_port(entry.key)), vip: .v4(IPv4Address(bigEndian: vip)),
            port: UInt16(bigEndian: ipvsd_flow_port(entry.value)), server: server, state: name,
            remaining: .nanoseconds(XDPDataPlane.nanoseconds(ticks: Int(timeout - idle))))
    }

    /// Whether the port still has a listener. `vip` and `port` are in network byte order.
    private func hasListener(vip: UInt32, port: UInt16, transport: TransportProtocol) -> Bool {
        [port, 0].contains { listeners.contains(ipvsd_listener_word(vip, $0, transport.number)) }
    }
}

extension Flow.State {
    /// Converts a state of the flow table. The states of a bare ACK and of a single datagram count as ESTABLISHED and
    /// UDP.
    init?(rawState: Int) {
        switch UInt32(rawState) {
        case IPVSD_STATE_SYN_RECV.rawValue: self = .synReceived
        case IPVSD_STATE_ESTABLISHED.rawValue, IPVSD_STATE_BARE_ACK.rawValue: self = .established
        case IPVSD_STATE_FIN_WAIT.rawValue: self = .finWait
        case IPVSD_STATE_TIME_WAIT.rawValue: self = .timeWait
        case IPVSD_STATE_CLOSE.rawValue: self = .closed
        case IPVSD_STATE_UDP.rawValue, IPVSD_STATE_ONE_DATAGRAM.rawValue: self = .udp
        default: return nil
        }
    }
}
