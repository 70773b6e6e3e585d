import Addresses
import DataPlane
import LoadBalancing
import Testing

@testable import Director

/// The parsing of routers' messages about tunnelled packets, and the learnt path MTUs.
struct PathMTUTests {
    private static let director = IPAddress(0x0A00_0002)
    private static let server = IPAddress(0x0A00_010B)
    private static let vip = IPAddress(0x0A00_0064)
    private static let client = IPAddress(0xC000_0207)
    private static let router = IPAddress(0x0A00_00FE)

    /// Returns a message of type 3 and code 4 as Linux sends it, with a quoted IPIP packet of 1,500 bytes.
    private static func message(
        mtu: UInt16 = 1400, type: UInt8 = 3, code: UInt8 = 4, protocolNumber: UInt8 = 4, transport: UInt8 = 6,
        options: Int = 0, quoting count: Int = 28, _ damage: (inout [UInt8]) -> Void = { _ in },
        sent: (inout [UInt8]) -> Void = { _ in }
    ) -> [UInt8] {
        var quoted: [UInt8] = [0x45, 0, 0x05, 0xDC, 0, 0, 0x40, 0, 63, protocolNumber, 0, 0]
        quoted += director.bytes + server.bytes + [0x45, 0, 0x05, 0xC8, 0x12, 0x34, 0x40, 0]
        quoted += [64, transport, 0, 0] + client.bytes + vip.bytes + [0x80, 0, 0, 80, 0, 1, 2, 3]
        sent(&quoted)
        var icmp: [UInt8] = [type, code, 0, 0, 0, 0, UInt8(mtu >> 8), UInt8(mtu & 255)] + quoted.prefix(count)
        var sum = stride(from: 0, to: icmp.count - 1, by: 2).reduce(UInt32(0)) {
            $0 + (UInt32(icmp[$1]) << 8 | UInt32(icmp[$1 + 1]))
        }
        if !icmp.count.isMultiple(of: 2) { sum += UInt32(icmp[icmp.count - 1]) << 8 }
        while sum > 0xFFFF { sum = (sum & 0xFFFF) + (sum >> 16) }
        icmp[2] = UInt8(~sum >> 8 & 255)
        icmp[3] = UInt8(~sum & 255)
        var packet: [UInt8] = [
            0x45 + UInt8(options / 4), 0xC0, 0, UInt8(20 + options + icmp.count), 1, 1, 0, 0, 64, 1, 0, 0,
        ]
        packet += router.bytes + director.bytes + [UInt8](repeating: 1, count: options) + icmp
        damage(&packet)
        return packet
    }

    @Test(
        "a message has the addresses, length and MTU, with and without IP options",
        arguments: [(28, 0), (20, 0), (28, 4), (21, 40)])
    func fields(count: Int, options: Int) throws {
        let error = try #require(FragmentationNeeded(packet: Self.message(options: options, quoting: count)))
        #expect(error.router == Self.router)
        #expect(error.source == Self.director)
        #expect(error.destination == Self.server)
        #expect(error.length == 1500)
        #expect(error.mtu == 1400)
    }

    @Test(
        "the inner destination is read where it is quoted",
        arguments: [(20, false), (28, false), (39, false), (40, true), (44, true)])
    func innerDestination(count: Int, isKnown: Bool) throws {
        let error = try #require(FragmentationNeeded(packet: Self.message(quoting: count)))
        #expect(error.innerDestination == (isKnown ? Self.vip : nil))
    }

    @Test("a quotation that no director can have sent is ignored")
    func foreignQuotations() {
        let others: [(inout [UInt8]) -> Void] = [
            // The changes of the quoted packet are: no DF, a length that fits, IPv6 inside, a short inner header, and
            // another inner length.
            { $0[6] = 0 }, { $0[2...3] = [0x05, 0x78] }, { $0[20] = 0x60 }, { $0[20] = 0x44 }, { $0[23] = 0xC9 },
        ]
        for (index, change) in others.enumerated() {
            #expect(FragmentationNeeded(packet: Self.message(quoting: 44, sent: change)) == nil, "number \(index)")
        }
    }

    @Test("other ICMP messages, wrong checksums and truncated packets are ignored")
    func otherPackets() {
        let others: [[UInt8]] = [
            Self.message(type: 11), Self.message(code: 3), Self.message(protocolNumber: 6), Self.message(quoting: 19),
            Self.message { $0[0] = 0x65 }, Self.message { $0[0] = 0x44 }, Self.message { $0[9] = 17 },
            Self.message { $0[22] ^= 1 }, Self.message { $0[27] ^= 1 }, Self.message { $0[28] = 0x44 },
            Self.message { $0.removeLast() }, [],
        ]
        for (index, packet) in others.enumerated() {
            #expect(FragmentationNeeded(packet: packet) == nil, "number \(index)")
        }
        for count in 0..<Self.message(quoting: 20).count {
            #expect(FragmentationNeeded(packet: Array(Self.message(quoting: 20).prefix(count))) == nil)
        }
    }

    @Test("the inner flow is read where its ports are quoted", arguments: [28, 40, 47, 48])
    func innerFlow(count: Int) throws {
        let error = try #require(FragmentationNeeded(packet: Self.message(quoting: count)))
        let ends = FlowEnds(
            transport: .tcp, client: Self.client, clientPort: 0x8000, vip: Self.vip, port: 80)
        #expect(error.content == (count < 48 ? .unknown : .flow(ends)))
    }

    @Test("a quoted packet without ports has no flow")
    func packetsWithoutPorts() throws {
        let ping = try #require(FragmentationNeeded(packet: Self.message(transport: 1, quoting: 48)))
        #expect(ping.content == .other)
        let fragment = Self.message(quoting: 48, sent: { $0[27] = 1 })
        #expect(try #require(FragmentationNeeded(packet: fragment)).content == .other)
    }

    // MARK: Learnt path MTUs

    private let start = ContinuousClock.now

    /// The arguments are the claimed MTU, the present one, and whether a probe may start.
    @Test(
        "a message with a smaller MTU may start a probe, unless the path is at the floor",
        arguments: [
            (1400, 1500, true), (1499, 1500, true), (1500, 1500, false), (1400, 1300, false),
            // Routers older than RFC 1191 send 0.
            (0, 1500, true), (0, 553, true),
            // The path MTU is at or below the floor of 552 already.
            (68, 552, false), (0, 500, false),
        ] as [(UInt32, UInt32, Bool)])
    func claims(claimed: UInt32, present: UInt32, mayProbe: Bool) {
        #expect(LearntPathMTUs().mayProbe(Self.server, claimed: claimed, present: present) == mayProbe)
    }

    /// The arguments are the largest packet that passed, the present MTU, and the learnt one.
    @Test(
        "a path MTU decreases to the largest packet that passes, but not below the floor",
        arguments: [
            (1400, 1500, 1400), (1499, 1500, 1499), (1500, 1500, nil), (nil, 1500, nil), (1400, 1400, nil),
            // The kernel's floor is 552.
            (552, 1500, 552), (551, 1500, 552), (68, 1500, 552), (68, 552, nil),
        ] as [(UInt32?, UInt32, UInt32?)])
    func results(passing: UInt32?, present: UInt32, learnt: UInt32?) {
        var mtus = LearntPathMTUs()
        mtus.beginProbe(Self.server)
        #expect(mtus.endProbe(Self.server, passing: passing, present: present) == learnt)
        #expect(mtus.mtu(to: Self.server) == learnt)
        #expect(mtus.mtu(to: Self.director) == nil)
    }

    @Test("a path has one probe at a time, and the next one two seconds later")
    func distance() {
        var mtus = LearntPathMTUs()
        func mayProbe(_ server: IPAddress, _ time: Duration) -> Bool {
            mtus.mayProbe(server, claimed: 552, present: 1500, at: start + time)
        }
        mtus.beginProbe(Self.server)
        #expect(!mayProbe(Self.server, .seconds(60)))
        #expect(mayProbe(Self.router, .zero))
        _ = mtus.endProbe(Self.server, passing: 1500, present: 1500, at: start)
        #expect(!mayProbe(Self.server, .milliseconds(1999)))
        #expect(mayProbe(Self.server, .seconds(2)))
    }

    @Test("at most four paths are probed at a time")
    func concurrentProbes() {
        var mtus = LearntPathMTUs()
        let servers = (1...5).map { IPAddress(0x0A00_0100 + $0) }
        for server in servers.dropLast() {
            #expect(mtus.mayProbe(server, claimed: 552, present: 1500))
            mtus.beginProbe(server)
        }
        #expect(!mtus.mayProbe(servers[4], claimed: 552, present: 1500))
        _ = mtus.endProbe(servers[0], present: 1500)
        #expect(mtus.mayProbe(servers[4], claimed: 552, present: 1500))
    }

    @Test("an unconfirmed message is logged once in ten minutes for each real server")
    func unconfirmedMessages() {
        var mtus = LearntPathMTUs()
        let times = [0, 599, 600, 700].filter { mtus.mayComplain(of: Self.server, at: start + .seconds($0)) }
        #expect(times == [0, 600])
        let ofAnother = mtus.mayComplain(of: Self.router, at: start)
        #expect(ofAnother)
    }

    @Test("a path MTU does not decrease below the given floor")
    func floor() {
        var mtus = LearntPathMTUs(floor: 1000)
        #expect(mtus.endProbe(Self.server, passing: 600, present: 1500) == 1000)
        #expect(LearntPathMTUs.kernelFloor >= 68)
    }

    @Test("a path MTU expires ten minutes after its decrease")
    func expiry() {
        var mtus = LearntPathMTUs()
        #expect(mtus.endProbe(Self.server, passing: 1400, present: 1500, at: start) == 1400)
        // An equal result does not extend the lifetime.
        #expect(mtus.endProbe(Self.server, passing: 1400, present: 1400, at: start + .seconds(300)) == nil)
        #expect(mtus.mtu(to: Self.server, at: start + .seconds(599)) == 1400)
        #expect(mtus.mtu(to: Self.server, at: start + .seconds(600)) == nil)
        #expect(mtus.endProbe(Self.server, passing: 1300, present: 1400, at: start + .seconds(500)) == 1300)
        #expect(mtus.mtu(to: Self.server, at: start + .seconds(1099)) == 1300)
        #expect(mtus.mtu(to: Self.server, at: start + .seconds(1100)) == nil)
    }

    @Test("the path MTU of a removed real server is forgotten")
    func removedServers() {
        var mtus = LearntPathMTUs()
        #expect(mtus.endProbe(Self.server, passing: 1400, present: 1500, at: start) == 1400)
        mtus.forget(except: [Self.server], at: start)
        #expect(mtus.mtu(to: Self.server, at: start) == 1400)
        mtus.forget(except: [], at: start)
        #expect(mtus.mtu(to: Self.server, at: start) == nil)
        #expect(mtus.mayProbe(Self.server, claimed: 552, present: 1500, at: start))
    }
}
