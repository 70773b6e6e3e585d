import Addresses
import BPF
import CLinux
import Glibc
import LoadBalancing
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// The identifications of outer packets without DF (ipvsd_ids.h), which programs on several CPUs give out.
@MainActor
@Suite(.serialized, .needsRoot)
struct OuterIDTests {
    /// The smallest allowed distance, in packets to one destination, between two packets with the same identification.
    private static let apart = 32_768

    /// The sequence of packets to one destination, with the last place of each identification.
    private struct Sequence {
        private var last = [Int](repeating: -1, count: 1 << 16)
        private(set) var count = 0
        /// The shortest distance between two packets with the same identification, or .max if there were no such
        /// packets.
        private(set) var shortest = Int.max
        private(set) var zeros = 0

        mutating func append(_ id: UInt16) {
            let before = last[Int(id)]
            if before >= 0 { shortest = min(shortest, count - before) }
            last[Int(id)] = count
            if id == 0 { zeros += 1 }
            count += 1
        }
    }

    private static let port: UInt16 = 53

    private static func service(_ port: UInt16, to server: UInt8) -> VirtualService {
        VirtualService(
            address: ServiceAddress(vip: Standard.main, port: port, transport: .udp), scheduler: .rr,
            servers: [Standard.realServer(server)])
    }

    /// Two services of one real server, and a service of another.
    private static let configuration = Configuration(
        services: [service(port, to: 1), service(port + 1, to: 1), service(port + 2, to: 2)],
        paths: [Standard.path(1), Standard.path(2)])

    private static let small = Capacity(connections: 2048, services: configuration.services)

    private static func datagram(to port: UInt16 = port, fragment: UInt16 = 0) -> [UInt8] {
        PacketBuilder.ethernet().ipv4(from: Standard.client, to: Standard.main) { $0.fragment = fragment }
            .udp(from: 4000, to: port).payload(4).bytes
    }

    private func id(of frame: [UInt8], in lab: Lab) throws -> UInt16 {
        let packet = try lab.plane.program().testRun(packet: frame).packet
        try #require(packet.count == frame.count + 20)
        #expect(internetChecksum(Array(packet[14..<34])) == 0)
        return word16(packet, 18)
    }

    private func send(_ count: Int, _ frame: [UInt8] = datagram(), in lab: Lab, to sequence: inout Sequence) throws {
        let program = try lab.plane.program()
        for _ in 0..<count { sequence.append(word16(try program.testRun(packet: frame).packet, 18)) }
    }

    private func onCPU<Result>(_ cpu: Int32, _ body: () throws -> Result) throws -> Result {
        try #require(clinux_stay_on_cpu(cpu) == 0)
        defer { clinux_leave_cpu() }
        return try body()
    }

    private var cpus: [Int32] { (0..<Int32(sysconf(Int32(_SC_NPROCESSORS_ONLN)))).map { $0 } }

    @Test("no identification recurs soon on any CPU") func noneComesAgainSoonOnAnyCPU() throws {
        let lab = try Lab(Self.configuration)
        let frames = [Self.datagram(), Self.datagram(to: Self.port + 1)]
        var sequence = Sequence()
        var random = SplitMix(seed: 7)
        while sequence.count < 140_000 {
            let turn = [1, 3, 64, 500, 5000].randomElement(using: &random) ?? 1
            let cpu = cpus.randomElement(using: &random) ?? 0
            try onCPU(cpu) {
                try send(turn, frames.randomElement(using: &random) ?? frames[0], in: lab, to: &sequence)
            }
        }
        #expect(sequence.shortest >= Self.apart)
        #expect(sequence.shortest < .max)
        #expect(sequence.zeros == 0)
    }

    @Test(
        "a CPU gives up a block that the others have nearly caught up with",
        .enabled("needs two CPUs") { sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1 })
    func aCPUThatComesBackTakesNoOldOnes() throws {
        for pause in [100, 16_000, 33_000, 65_000, 65_450, 65_536, 66_000] {
            let lab = try Lab(Self.configuration)
            var sequence = Sequence()
            try onCPU(1) { try send(1, in: lab, to: &sequence) }
            try onCPU(0) { try send(pause, in: lab, to: &sequence) }
            try onCPU(1) { try send(100, in: lab, to: &sequence) }
            try onCPU(0) { try send(100, in: lab, to: &sequence) }
            #expect(sequence.shortest >= Self.apart, "after \(pause) packets")
            #expect(sequence.zeros == 0, "after \(pause) packets")
        }
    }

    @Test("each destination has its own identifications") func eachDestinationHasItsOwn() throws {
        let lab = try Lab(Self.configuration)
        try onCPU(0) {
            var before: [UInt16: UInt16] = [:]
            for number in 0..<100 {
                for port in [Self.port, Self.port + 2] {
                    let id = try id(of: Self.datagram(to: port), in: lab)
                    // The identification 0 is never given out.
                    if let last = before[port] { #expect(id == (last == .max ? 1 : last + 1), "packet \(number)") }
                    before[port] = id
                }
            }
        }
    }

    @Test("packets with DF take no identification") func packetsWithDFTakeNone() throws {
        let lab = try Lab(Self.configuration)
        let row = try #require(lab.plane.pathTable.rows[Standard.server(1)])
        let counters = try #require(lab.plane.maps.outerIDs)
        let before = counters[row]
        #expect(before % IPVSD_ID_BLOCK == 0)
        for _ in 0..<3 { #expect(try id(of: Self.datagram(fragment: PacketBuilder.dontFragment), in: lab) == 0) }
        #expect(counters[row] == before)
        #expect(try id(of: Self.datagram(), in: lab) != 0)
        #expect(counters[row] == before &+ IPVSD_ID_BLOCK)
    }

    /// A changed path may get a new row, which another real server may have had before.
    @Test("identifications continue after a change of the path") func theyGoOnWhenThePathChanges() throws {
        let lab = try Lab(Self.configuration)
        var sequence = Sequence()
        var path = Standard.path(1)
        try send(40_000, in: lab, to: &sequence)
        for change in 1...3 as ClosedRange<UInt8> {
            path.nextHopMAC = mac(90 + change)
            try lab.plane.setPath(path, to: path.destination)
            try send(2000, in: lab, to: &sequence)
        }
        try lab.plane.setPath(nil, to: path.destination)
        try lab.plane.setPath(path, to: path.destination)
        try send(30_000, in: lab, to: &sequence)
        #expect(sequence.shortest >= Self.apart)
        #expect(sequence.shortest < .max)
        #expect(sequence.zeros == 0)
    }

    @Test("identifications continue through growth and take-over") func theyGoOnWhenTablesGrowOrADaemonTakesOver()
        throws
    {
        try withPinDirectory { directory in
            let first = try Lab(directory: directory, capacity: Self.small)
            try first.apply(Self.configuration)
            try first.plane.publish()
            var sequence = Sequence()
            try send(30_000, in: first, to: &sequence)
            var larger = Self.small
            larger.servers = 512
            let second = try Lab(directory: directory, capacity: larger)
            #expect(second.plane.maps.outerIDs?.count == 1024)
            // The former program sends these last packets, as many as on a busy path.
            try send(10_000, in: first, to: &sequence)
            try second.plane.publish()
            try send(20_000, in: second, to: &sequence)
            let third = try Lab(directory: directory, capacity: Self.small)
            try send(30_000, in: third, to: &sequence)
            #expect(sequence.shortest >= Self.apart)
            #expect(sequence.shortest < .max)
            #expect(sequence.zeros == 0)
        }
    }

    /// The data plane is without the maps of identifications. Its other tables are large enough, or too small.
    @Test("a data plane without identifications is adopted", arguments: [256, 1024])
    func aDirectorWithoutThemIsTakenOver(servers: Int) throws {
        try withPinDirectory { directory in
            var capacity = Self.small
            capacity.servers = 512
            let first = try Lab(directory: directory, capacity: capacity)
            try first.apply(Self.configuration)
            try first.plane.publish()
            for map in [MapCatalogue.outerIDs.map, MapCatalogue.idBlocks.map] {
                try #require(unlink(map.pin(below: directory)) == 0)
            }
            capacity.servers = servers
            let second = try Lab(directory: directory, capacity: capacity)
            try second.plane.publish()
            #expect(second.plane.maps.outerIDs?.count == second.plane.maps.nextHops.count)
            #expect(second.plane.maps.idBlocks?.maxEntries == second.plane.maps.nextHops.count)
            var sequence = Sequence()
            try send(66_000, in: second, to: &sequence)
            #expect(sequence.shortest >= Self.apart)
            #expect(sequence.zeros == 0)
        }
    }
}
