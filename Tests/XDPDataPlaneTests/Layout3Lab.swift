import Addresses
import BPF
import DataPlane
import Layout3
import LoadBalancing
import PacketPrograms
import Testing

@testable import XDPDataPlane

/// A data plane of layout 3 with a configuration, and operations for tests.
@MainActor
final class Layout3Lab {
    /// The data plane of the present layout that `plane` replaced. It gives access to the memory of the maps that both
    /// share.
    let lab: Lab
    let plane: Layout3Plane
    let directory: String
    private let program: BPFProgram

    /// Makes the data plane. Links to the interfaces of `attached` are pinned, too. `flowIDs` sets the numbers of some
    /// listeners, by the words of their keys.
    init(
        directory: String, capacity: Capacity = .roomy, _ configuration: Configuration,
        flowIDs: [UInt64: UInt16] = [:], attached interfaces: [Int32] = []
    ) throws {
        lab = try Lab(directory: directory, capacity: capacity)
        try lab.apply(configuration)
        for interface in interfaces { try lab.plane.attach(interface: interface, mode: .native) }
        try lab.plane.publish()
        plane = try Layout3Plane(replacing: directory, flowIDs: flowIDs)
        program = try plane.program()
        self.directory = directory
        lab.stretchTimeouts()
    }

    /// Sends a packet. Returns the real server to which the encapsulated packet goes, or nil if the packet was not
    /// encapsulated.
    @discardableResult
    func send(_ packet: PacketBuilder) throws -> IPv4Address? { try encapsulated(try run(packet)) }

    func run(_ packet: PacketBuilder) throws -> BPFProgram.TestRun { try program.testRun(packet: packet.bytes) }

    /// Returns the word of the key of the flow's listener. `port` replaces the flow's port, and 0 means the any-port
    /// listener.
    static func listener(_ flow: FlowKey, port: UInt16? = nil) -> UInt64 {
        Layout3Plane.listenerKey(vip: flow.vip.value, port: port ?? flow.port, transport: flow.transport.number)
    }

    /// Returns the flow's key in layout 3. The key has the number of the listener of the flow's port, or else of the
    /// any-port listener.
    func key(of flow: FlowKey) throws -> UInt64 {
        let id = plane.flowIDs[Self.listener(flow)] ?? plane.flowIDs[Self.listener(flow, port: 0)]
        return ipvsd_flow_key(flow.client.bigEndian, flow.clientPort.bigEndian, try #require(id))
    }

    /// Returns the places of the flow's entries, in the memory that both layouts share.
    func entries(of flow: FlowKey) throws -> [UnsafeMutablePointer<ipvsd_flow>] {
        let key = try key(of: flow)
        return lab.places(ofKey: key).filter {
            $0.pointee.value != 0 && $0.pointee.key == key && ipvsd_flow_port($0.pointee.value) == flow.port.bigEndian
        }
    }

    /// Returns each counter's sum over all CPUs, in the order of the counters' numbers.
    func counters() throws -> [UInt64] {
        let map: BPFMap<UInt32, Layout3Counters> = try plane.map("counters")
        var totals = [UInt64](repeating: 0, count: Layout3Counters.count)
        for cpu in try map.values(for: 0) {
            withUnsafeBytes(of: cpu) { raw in
                for (index, value) in raw.bindMemory(to: UInt64.self).enumerated() { totals[index] &+= value }
            }
        }
        return totals
    }
}

/// The 31 counters of layout 3.
struct Layout3Counters: BitwiseCopyable {
    static let count = MemoryLayout<Layout3Counters>.size / 8
    private typealias Eight = (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64)
    private var first: (Eight, Eight, Eight)
    private var last: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64)
}

/// Returns the real server to which a test run sent the packet, or nil if the packet was not encapsulated.
func encapsulated(_ run: BPFProgram.TestRun) throws -> IPv4Address? {
    guard run.verdict == Verdict.redirect.rawValue || run.verdict == Verdict.transmit.rawValue,
        run.packet.count >= 54, run.packet[23] == 4
    else { return nil }
    return IPv4Address(word32(run.packet, 30))
}

// MARK: Rows of the flow table

extension Layout3Lab {
    /// Whether the flow's key in layout 3 is also its key in layout 4.
    func isFirst(_ flow: FlowKey) throws -> Bool { try key(of: flow) == destinationKey(of: flow) }

    /// Returns the flow's key in layout 4, with the lowest number of the listeners of its VIP and protocol.
    func destinationKey(of flow: FlowKey) throws -> UInt64 {
        let address = Self.listener(flow, port: 0)
        let ids = plane.flowIDs.filter { $0.key & ~(0xFFFF << 32) == address }.map(\.value)
        return try key(of: flow) & ~0xFFFF | UInt64(try #require(ids.min()))
    }

    /// Writes an established connection with this key, and counts it.
    func place(_ key: UInt64, port: UInt16, server: UInt32) throws {
        let home = lab.home(ofKey: key)
        let entry = try #require(lab.places(ofKey: key).first { $0.pointee.value == 0 })
        entry.pointee.key = key
        entry.pointee.value = ipvsd_flow_value(
            ipvsd_flow_identity(port.bigEndian, home.hash), server, UInt32(IPVSD_STATE_ESTABLISHED.rawValue),
            try lab.now)
        lab.plane.maps.connectionCounts[Int(server)].count(IPVSD_STATE_ESTABLISHED, 1)
    }

    /// Fills the first bucket of the key's flow with connections of another service, which keep their keys. If `both`
    /// is true, also fills the second bucket.
    func fill(bucketsOfKey key: UInt64, both: Bool = true) throws {
        let flow = MigrationLab.flow(0, port: 53, .udp, vip: Standard.strict)
        let other = try #require(plane.flowIDs[Self.listener(flow)])
        let server = try lab.serverID(MigrationLab.names, Standard.server(1))
        let home = lab.home(ofKey: key)
        for bucket in both ? [home.bucket, home.second] : [home.bucket] {
            let first = lab.plane.maps.flows.entries(ofBucket: bucket)
            for way in 0..<Int(IPVSD_WAYS) where first[way].value == 0 {
                first[way].key = ipvsd_flow_key(UInt32(bucket), UInt16(way), other)
                first[way].value = ipvsd_flow_value(
                    ipvsd_flow_identity(53, 0), server, UInt32(IPVSD_STATE_ESTABLISHED.rawValue), try lab.now)
                lab.plane.maps.connectionCounts[Int(server)].count(IPVSD_STATE_ESTABLISHED, 1)
            }
        }
    }

    /// Returns the states of all flows.
    func flowStates() -> [ipvsd_state] {
        let flows = lab.plane.maps.flows
        return (0..<flows.count).flatMap { bucket in
            (0..<Int(IPVSD_WAYS)).compactMap { way in
                let value = flows.entries(ofBucket: bucket)[way].value
                return value == 0 ? nil : ipvsd_state(rawValue: ipvsd_flow_state(value))
            }
        }
    }
}
