import Addresses
import BPF
import DataPlane
import Layout3
import LoadBalancing
import PacketPrograms
import Testing

@testable import XDPDataPlane

/// A data plane of layout 3 with a configuration, and what a test does with it.
@MainActor
final class Layout3Lab {
    /// The one of today's that it took the place of: the memory of the maps that both layouts share.
    let lab: Lab
    let plane: Layout3Plane
    let directory: String
    private let program: BPFProgram

    /// `isPublished`: the programs of today's are pinned first. `attached`: so are links to these interfaces.
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
    }

    /// The real server that an encapsulated packet is sent to; nil where the packet was not encapsulated.
    @discardableResult
    func send(_ packet: PacketBuilder) throws -> IPv4Address? { try encapsulated(try run(packet)) }

    func run(_ packet: PacketBuilder) throws -> BPFProgram.TestRun { try program.testRun(packet: packet.bytes) }

    /// The word of a listener's key.
    static func listener(_ flow: FlowKey, port: UInt16? = nil) -> UInt64 {
        Layout3Plane.listenerKey(vip: flow.vip.value, port: port ?? flow.port, transport: flow.transport.number)
    }

    /// The flow's key in layout 3. Its listener is the one of its port, else the any-port one.
    func key(of flow: FlowKey) throws -> UInt64 {
        let id = plane.flowIDs[Self.listener(flow)] ?? plane.flowIDs[Self.listener(flow, port: 0)]
        return ipvsd_flow_key(flow.client.bigEndian, flow.clientPort.bigEndian, try #require(id))
    }

    /// The places of the flow's entry, in the memory that both layouts share.
    func entries(of flow: FlowKey) throws -> [UnsafeMutablePointer<ipvsd_flow>] {
        let key = try key(of: flow)
        return lab.places(ofKey: key).filter {
            $0.pointee.value != 0 && $0.pointee.key == key && ipvsd_flow_port($0.pointee.value) == flow.port.bigEndian
        }
    }

    /// The counters of all CPUs, in the order of their numbers.
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

/// The real server that the packet of a test run was sent to; nil where it was not encapsulated.
func encapsulated(_ run: BPFProgram.TestRun) throws -> IPv4Address? {
    guard run.verdict == Verdict.redirect.rawValue || run.verdict == Verdict.transmit.rawValue,
        run.packet.count >= 54, run.packet[23] == 4
    else { return nil }
    return IPv4Address(word32(run.packet, 30))
}
