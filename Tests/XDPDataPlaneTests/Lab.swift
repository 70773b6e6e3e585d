import Addresses
import BPF
import CLinux
import DataPlane
import Glibc
import LoadBalancing
import Netlink
import PacketPrograms
import Testing

@testable import XDPDataPlane

enum Verdict: UInt32, Sendable {
    case aborted, drop, pass, transmit, redirect
}

/// The services and paths of a data plane.
struct Configuration: Sendable {
    var services: [VirtualService]
    var paths: [Path]
    var ingressMTU: UInt32 = 1500
}

/// Calls `body` with a temporary directory on bpffs. Expects that only the director's pins are left there, and removes
/// them.
func withPinDirectory<Result>(_ body: (String) throws -> Result) throws -> Result {
    let directory = "/sys/fs/bpf/ipvsd-test-\(String(UInt64.random(in: .min ... .max), radix: 36))"
    try #require(mkdir(directory, 0o700) == 0, "make \(directory): \(String(cString: strerror(errno)))")
    defer {
        let programs = ["director", "tick", ExplainingProgram.name]
        for pin in MapCatalogue.all.map(\.pin) + programs { unlink("\(directory)/\(pin)") }
        #expect(rmdir(directory) == 0, "\(directory) held more than the director's maps")
    }
    return try body(directory)
}

/// A data plane that is loaded but not attached, with operations for tests.
@MainActor
final class Lab {
    struct Outcome {
        var verdict: Verdict?
        var packet: [UInt8]
        /// The increments of the counters, by name.
        var moved: [String: UInt64]
    }

    struct Flow: Equatable {
        var server: UInt32
        var state: ipvsd_state
    }

    let plane: XDPDataPlane
    private let program: BPFProgram
    private(set) var paths: [IPv4Address: Path] = [:]

    init(
        directory: String, capacity: Capacity = .roomy, services: [VirtualService] = [],
        answersByRedirect: Bool = false, repliesPerSecond: UInt32 = 1_000_000, traits: PacketTraits = PacketTraits()
    ) throws {
        silenceLibbpf()
        plane = try XDPDataPlane(
            directory: directory, capacity: capacity, services: services, answersByRedirect: answersByRedirect,
            repliesPerSecond: repliesPerSecond, traits: traits)
        program = try plane.program()
        plane.setOwnMACs([PacketBuilder.director])
    }

    /// Makes a data plane in a temporary directory. The maps outlive their pins.
    convenience init(
        _ configuration: Configuration, answersByRedirect: Bool = false, repliesPerSecond: UInt32 = 1_000_000,
        traits: PacketTraits = PacketTraits()
    ) throws {
        let lab = try withPinDirectory {
            try Lab(
                directory: $0, answersByRedirect: answersByRedirect, repliesPerSecond: repliesPerSecond, traits: traits)
        }
        self.init(lab)
        try apply(configuration)
    }

    private init(_ other: Lab) {
        plane = other.plane
        program = other.program
    }

    func apply(_ configuration: Configuration) throws {
        try plane.apply(configuration.services)
        for path in configuration.paths { try plane.setPath(path, to: path.destination) }
        paths = Dictionary(uniqueKeysWithValues: configuration.paths.map { ($0.destination, $0) })
        plane.setIngressMTU(configuration.ingressMTU)
    }

    func run(_ packet: PacketBuilder) throws -> Outcome { try run(packet.bytes) }

    func run(_ frame: [UInt8]) throws -> Outcome {
        let before = try plane.maps.counterTotals()
        let run = try program.testRun(packet: frame)
        let moved = try plane.maps.counterTotals().compactMap { name, value in
            value == before[name] ? nil : (name, value &- (before[name] ?? 0))
        }
        return Outcome(
            verdict: Verdict(rawValue: run.verdict), packet: run.packet, moved: Dictionary(uniqueKeysWithValues: moved))
    }

    /// Runs the packet as if it came in on the interface with this index.
    func run(_ frame: [UInt8], ingress: UInt32) throws -> BPFProgram.TestRun {
        try program.testRun(packet: frame, ingress: ingress)
    }

    /// Sends a packet. Returns the real server to which the encapsulated packet goes, or nil if the packet was not
    /// encapsulated.
    @discardableResult
    func send(_ packet: PacketBuilder) throws -> IPv4Address? { try send(packet.bytes) }

    @discardableResult
    func send(_ frame: [UInt8]) throws -> IPv4Address? {
        let run = try program.testRun(packet: frame)
        guard run.verdict == Verdict.redirect.rawValue || run.verdict == Verdict.transmit.rawValue,
            run.packet.count >= 54, run.packet[23] == 4
        else { return nil }
        return IPv4Address(word32(run.packet, 30))
    }

    // MARK: Flow table

    /// The present tick, with which the packet programs stamp entries.
    var now: UInt16 {
        get throws { UInt16(truncatingIfNeeded: try plane.tick()) }
    }

    func timeout(_ state: ipvsd_state) -> UInt16 {
        plane.maps.settings.pointer(0).load(fromByteOffset: 16 + 2 * Int(state.rawValue), as: UInt16.self)
    }

    /// Stretches all time-outs, so that nothing expires by itself on a slow machine.
    func stretchTimeouts() {
        for state in 0..<Int(IPVSD_STATE_MAX.rawValue) {
            plane.maps.settings.pointer(0).storeBytes(of: 32_000, toByteOffset: 16 + 2 * state, as: UInt16.self)
        }
    }

    var seed: UInt64 { plane.maps.settings.pointer(0).load(fromByteOffset: 8, as: UInt64.self) }

    /// Clears the flow table.
    func forgetFlows() {
        memset(plane.maps.flows.pointer(0), 0, plane.maps.flows.count * plane.maps.flows.stride)
        memset(
            plane.maps.connectionCounts.pointer(0), 0,
            plane.maps.connectionCounts.count * plane.maps.connectionCounts.stride)
        plane.maps.tableLoad[0] = ipvsd_table_load()
    }

    func key(of flow: FlowKey) throws -> UInt64 {
        let services = plane.maps.listeners
        let number = flow.transport.number
        let exact = try services.value(
            for: ipvsd_listener_key(
                vip: flow.vip.bigEndian, port: flow.port.bigEndian, protocol: number, reserved: 0))
        let anyPort = try services.value(
            for: ipvsd_listener_key(vip: flow.vip.bigEndian, port: 0, protocol: number, reserved: 0))
        let service = try #require(exact ?? anyPort)
        return UInt64(flow.client.bigEndian) << 32 | UInt64(flow.clientPort.bigEndian) << 16
            | UInt64(service.destination)
    }

    func home(ofKey key: UInt64) -> FlowHome { FlowHome(key: key, seed: seed, buckets: plane.maps.flows.count) }

    /// Returns the entries of the flow. There is more than one if an expired entry is left.
    func entries(of flow: FlowKey) throws -> [UnsafeMutablePointer<ipvsd_flow>] {
        let key = try key(of: flow)
        let port = UInt64(flow.port.bigEndian)
        return places(ofKey: key).filter {
            $0.pointee.value != 0 && $0.pointee.key == key && $0.pointee.value >> 32 & 0xFFFF == port
        }
    }

    /// Returns the sixteen ways of both buckets, or eight ways if both are the same bucket.
    func places(ofKey key: UInt64) -> [UnsafeMutablePointer<ipvsd_flow>] {
        let home = home(ofKey: key)
        return (home.second == home.bucket ? [home.bucket] : [home.bucket, home.second]).flatMap { ways(of: $0) }
    }

    private func ways(of bucket: Int) -> [UnsafeMutablePointer<ipvsd_flow>] {
        let first = plane.maps.flows.pointer(bucket).assumingMemoryBound(to: ipvsd_flow.self)
        return (0..<Int(IPVSD_WAYS)).map { first + $0 }
    }

    /// Fills the flow's second bucket with established connections, whose clients have no other entries.
    func fillSecondBucket(of flow: FlowKey) throws {
        let server = UInt32(1)
        for entry in ways(of: home(ofKey: try key(of: flow)).second) where entry.pointee.value == 0 {
            entry.pointee.key = 1
            entry.pointee.value =
                UInt64(try now) << 48 | UInt64(server) << 16 | UInt64(IPVSD_STATE_ESTABLISHED.rawValue) << 12
            plane.maps.connectionCounts[Int(server)].count(IPVSD_STATE_ESTABLISHED, 1)
        }
    }

    func flow(_ flow: FlowKey) throws -> Flow? {
        let entries = try entries(of: flow)
        #expect(entries.count <= 1)
        return entries.first.map {
            Flow(
                server: UInt32($0.pointee.value >> 16 & 0xFFFF),
                state: ipvsd_state(rawValue: UInt32($0.pointee.value >> 12 & 0xF)))
        }
    }

    /// Sets the age of the flow's entry to this many ticks. By the time of the next packet it may be one more.
    func age(_ flow: FlowKey, by ticks: UInt16) throws {
        let entry = try #require(try entries(of: flow).first)
        entry.pointee.value = entry.pointee.value & (1 << 48 - 1) | UInt64(try now &- ticks) << 48
    }

    /// Writes a state into the flow's entry, and adjusts the counts.
    func force(_ flow: FlowKey, into state: ipvsd_state) throws {
        let entry = try #require(try entries(of: flow).first)
        let value = entry.pointee.value
        let server = Int(value >> 16 & 0xFFFF)
        let old = ipvsd_state(rawValue: UInt32(value >> 12 & 0xF))
        entry.pointee.value = value & ~(0xF << 12) | UInt64(state.rawValue) << 12
        plane.maps.connectionCounts[server].count(old, -1)
        plane.maps.connectionCounts[server].count(state, 1)
        for (kind, difference) in [(old, UInt32.max), (state, 1)] where kind == IPVSD_STATE_SYN_RECV {
            plane.maps.tableLoad[0].half_open &+= difference
        }
    }

    /// Returns the active and inactive connections of each server, counted from the table.
    func recount() -> [UInt32: Load] {
        var loads: [UInt32: Load] = [:]
        let words = UnsafeRawBufferPointer(
            start: plane.maps.flows.pointer(0), count: plane.maps.flows.count * plane.maps.flows.stride)
        for offset in stride(from: 8, to: words.count, by: 16) {
            let value = words.load(fromByteOffset: offset, as: UInt64.self)
            guard value != 0 else { continue }
            let state = ipvsd_state(rawValue: UInt32(value >> 12 & 0xF))
            loads[UInt32(value >> 16 & 0xFFFF), default: Load()].count(state, 1)
        }
        return loads
    }

    /// Returns the active and inactive connections of each server, as the packet programs count them.
    func loads() -> [UInt32: Load] {
        var loads: [UInt32: Load] = [:]
        for id in 1..<plane.maps.connectionCounts.count {
            let load = plane.maps.connectionCounts[id]
            if load.active != 0 || load.inactive != 0 {
                loads[UInt32(id)] = Load(
                    active: Int32(bitPattern: load.active), inactive: Int32(bitPattern: load.inactive))
            }
        }
        return loads
    }

    struct Load: Equatable {
        var active: Int32 = 0
        var inactive: Int32 = 0

        mutating func count(_ state: ipvsd_state, _ difference: Int32) {
            if state.isActive { active += difference } else { inactive += difference }
        }
    }

    func serverID(_ service: ServiceAddress, _ address: IPv4Address) throws -> UInt32 {
        try #require(plane.serverID(service: service, server: address))
    }

    /// Expects that received = forwarded + passed + answered + dropped.
    func expectBalance(sourceLocation: SourceLocation = #_sourceLocation) throws {
        let totals = try plane.maps.counterTotals()
        var sums: [PacketCounter.Group: UInt64] = [:]
        for counter in PacketCounter.all { sums[counter.group, default: 0] += totals[counter.name] ?? 0 }
        let ends: [PacketCounter.Group] = [.forwarded, .passed, .answered, .dropped]
        #expect(sums[.received] == ends.reduce(0) { $0 + (sums[$1] ?? 0) }, sourceLocation: sourceLocation)
    }
}

/// A flow as a client knows it.
struct FlowKey: Hashable, Sendable {
    var client: IPv4Address
    var clientPort: UInt16
    var vip: IPv4Address
    var port: UInt16
    var transport = TransportProtocol.tcp

    func packet(
        _ flags: PacketBuilder.TCPFlags = [], payload: Int = 0, to mac: MACAddress = PacketBuilder.director
    ) -> PacketBuilder {
        let ip = PacketBuilder.ethernet(to: mac).ipv4(from: client, to: vip)
        return switch transport {
        case .tcp: ip.tcp(from: clientPort, to: port, flags).payload(payload)
        case .udp: ip.udp(from: clientPort, to: port).payload(payload)
        }
    }
}

extension ipvsd_state {
    var isActive: Bool {
        [IPVSD_STATE_SYN_RECV, IPVSD_STATE_ESTABLISHED, IPVSD_STATE_BARE_ACK].contains(self)
    }
}

extension ipvsd_conn_counts {
    mutating func count(_ state: ipvsd_state, _ difference: Int32) {
        if state.isActive {
            active &+= UInt32(bitPattern: difference)
        } else {
            inactive &+= UInt32(bitPattern: difference)
        }
    }
}

extension Capacity {
    /// The default capacity in tests.
    static let roomy = {
        var capacity = Capacity()
        capacity.listenerBuckets = 4096
        capacity.services = 1024
        capacity.servers = 8192
        capacity.slotGroups = 1 << 19
        capacity.templates = 4096
        return capacity
    }()
}
