public import BPF
internal import Glibc
public import LoadBalancing
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
    public var client: IPv4Address
    public var clientPort: UInt16
    public var vip: IPv4Address
    public var port: UInt16
    public var server: IPv4Address
    public var state: State
    /// Until it expires, if no packet comes.
    public var remaining: Duration
}

/// Reads the flow table in place, with or without a daemon.
public struct FlowScan {
    private let maps: DirectorMaps
    private let services: [UInt16: (address: ServiceAddress, transport: TransportProtocol)]
    private let servers: [IPv4Address?]
    private let now: UInt16

    /// Nil where there is no data plane below `directory`.
    public init?(directory: String) throws(BPFError) {
        guard let maps = try DirectorMaps(directory: directory, writable: false),
            let tick = try XDPDataPlane.tick(below: directory)
        else { return nil }
        self.maps = maps
        now = UInt16(truncatingIfNeeded: tick)
        var services: [UInt16: (ServiceAddress, TransportProtocol)] = [:]
        for key in try maps.services.keys() {
            guard let value = try maps.services.value(for: key),
                let transport = TransportProtocol.allCases.first(where: { $0.number == key.protocol })
            else { continue }
            services[value.flow_service] = (ServiceAddress(key: key), transport)
        }
        self.services = services
        servers = (0..<maps.servers.count).map { id in
            let row = maps.servers[id]
            return row.flags & UInt16(IPVSD_SERVER_USED) == 0 ? nil : IPv4Address(bigEndian: row.address)
        }
    }

    /// Calls `body` for every flow that has not expired. Flows come and go meanwhile: one may be missed, none is made
    /// up.
    public func forEach(_ body: (Flow) throws -> Void) rethrows {
        for table in [maps.flows] + (maps.isMoving ? [maps.former].compactMap(\.self) : []) {
            for bucket in 0..<table.count { try forEach(in: table.pointer(bucket), body) }
        }
    }

    private func forEach(in bucket: UnsafeMutableRawPointer, _ body: (Flow) throws -> Void) rethrows {
        let entries = UnsafeRawPointer(bucket)
        for way in 0..<Int(IPVSD_WAYS) {
            let entry = entries + way * MemoryLayout<ipvsd_flow>.stride
            let value = entry.load(fromByteOffset: 8, as: UInt64.self)
            if value == 0 { continue }
            let key = entry.load(as: UInt64.self)
            // The key is stored after the value: read again, both belong together.
            guard entry.load(fromByteOffset: 8, as: UInt64.self) == value else { continue }
            if let flow = flow(key: key, value: value) { try body(flow) }
        }
    }

    private func flow(key: UInt64, value: UInt64) -> Flow? {
        let state = Int(value >> 12 & 0xF)
        let timeout = maps.settings.pointer(0).load(fromByteOffset: timeoutOffset + 2 * state, as: UInt16.self)
        let age = now &- UInt16(truncatingIfNeeded: value >> 48)
        // A stamp may be a tick ahead of what was read as now.
        let idle = age > 0x8000 ? 0 : age
        guard idle <= timeout, let service = services[UInt16(truncatingIfNeeded: key)],
            let server = servers[Int(value >> 16 & 0xFFFF) % servers.count], let name = Flow.State(rawState: state)
        else { return nil }
        return Flow(
            transport: service.transport, client: IPv4Address(bigEndian: UInt32(key >> 32)),
            clientPort: UInt16(bigEndian: UInt16(truncatingIfNeeded: key >> 16)), vip: service.address.vip,
            port: UInt16(bigEndian: UInt16(truncatingIfNeeded: value >> 32)), server: server, state: name,
            remaining: .nanoseconds(Int64(timeout - idle) << Int64(IPVSD_TICK_SHIFT)))
    }
}

extension Flow.State {
    /// Of the flow table's own kinds; flows that may be made up are listed as what they would be.
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

extension DirectorMaps {
    /// The listeners that flows in the table are of, expired or not.
    var flowIDsInUse: Set<UInt16> {
        var ids: Set<UInt16> = []
        for bucket in 0..<flows.count {
            let entries = UnsafeRawPointer(flows.pointer(bucket))
            for offset in stride(from: 0, to: MemoryLayout<ipvsd_bucket>.size, by: MemoryLayout<ipvsd_flow>.stride)
            where entries.load(fromByteOffset: offset + 8, as: UInt64.self) != 0 {
                ids.insert(UInt16(truncatingIfNeeded: entries.load(fromByteOffset: offset, as: UInt64.self)))
            }
        }
        return ids
    }
}
