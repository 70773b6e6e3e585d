import LoadBalancing
import Testing

@testable import Director

/// What is believed of routers' words about tunnelled packets, and how long.
struct PathMTUTests {
    private static let director = IPv4Address(0x0A00_0002)
    private static let server = IPv4Address(0x0A00_010B)
    private static let vip = IPv4Address(0x0A00_0064)
    private static let router = IPv4Address(0x0A00_00FE)

    /// Type 3 code 4 as Linux sends it, quoting an IPIP packet of ours with 1,500 bytes.
    private static func message(
        mtu: UInt16 = 1400, type: UInt8 = 3, code: UInt8 = 4, protocolNumber: UInt8 = 4, options: Int = 0,
        quoting count: Int = 28, _ damage: (inout [UInt8]) -> Void = { _ in },
        sent: (inout [UInt8]) -> Void = { _ in }
    ) -> [UInt8] {
        var quoted: [UInt8] = [0x45, 0, 0x05, 0xDC, 0, 0, 0x40, 0, 63, protocolNumber, 0, 0]
        quoted += bytes(director) + bytes(server) + [0x45, 0, 0x05, 0xC8, 0x12, 0x34, 0x40, 0]
        quoted += [64, 6, 0, 0] + bytes(router) + bytes(vip) + [0x80, 0, 0, 80]
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
        packet += bytes(router) + bytes(director) + [UInt8](repeating: 1, count: options) + icmp
        damage(&packet)
        return packet
    }

    private static func bytes(_ address: IPv4Address) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: address.value >> UInt32(24 - 8 * $0)) }
    }

    @Test(arguments: [(28, 0), (20, 0), (28, 4), (21, 40)])
    func isRead(count: Int, options: Int) throws {
        let error = try #require(FragmentationNeeded(packet: Self.message(options: options, quoting: count)))
        #expect(error.router == Self.router && error.source == Self.director && error.destination == Self.server)
        #expect(error.length == 1500 && error.mtu == 1400)
    }

    @Test(arguments: [(20, false), (28, false), (39, false), (40, true), (44, true)])
    func whoseItWasIsReadWhereItIsQuoted(count: Int, isKnown: Bool) throws {
        let error = try #require(FragmentationNeeded(packet: Self.message(quoting: count)))
        #expect(error.innerDestination == (isKnown ? Self.vip : nil))
    }

    /// What is quoted cannot have come from here.
    @Test func noDirectorSentIt() {
        let others: [(inout [UInt8]) -> Void] = [
            // Without DF; small enough; no IPv4 inside; of another length inside.
            { $0[6] = 0 }, { $0[2...3] = [0x05, 0x78] }, { $0[20] = 0x60 }, { $0[20] = 0x44 }, { $0[23] = 0xC9 },
        ]
        for (index, change) in others.enumerated() {
            #expect(FragmentationNeeded(packet: Self.message(quoting: 44, sent: change)) == nil, "number \(index)")
        }
    }

    @Test func isNotWhatItSeems() {
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

    private func error(mtu: UInt16) throws -> FragmentationNeeded {
        try #require(FragmentationNeeded(packet: Self.message(mtu: mtu)))
    }

    /// (told, present, learnt)
    @Test(
        arguments: [
            (1400, 1500, 1400), (1499, 1500, 1499), (1400, 1300, nil), (1400, 1400, nil),
            // No lower than the kernel goes, whoever says it.
            (552, 1500, 552), (551, 1500, 552), (68, 1500, 552), (1, 1500, 552), (68, 552, nil), (68, 500, nil),
            // Routers older than RFC 1191: the next plateau below.
            (0, 1500, 1492), (0, 1492, 1006), (0, 1007, 1006), (0, 1006, 552), (0, 552, nil),
        ] as [(UInt16, UInt32, UInt32?)])
    func onlyDownAndNotBelowTheFloor(told: UInt16, present: UInt32, learnt: UInt32?) throws {
        var mtus = LearntPathMTUs()
        #expect(mtus.learn(try error(mtu: told), present: present) == learnt)
        #expect(mtus.mtu(to: Self.server) == learnt)
        #expect(mtus.mtu(to: Self.director) == nil)
    }

    @Test func theFloorIsTheKernels() throws {
        var mtus = LearntPathMTUs(floor: 1000)
        #expect(mtus.learn(try error(mtu: 600), present: 1500) == 1000)
        #expect(LearntPathMTUs.kernelFloor >= 68)
    }

    @Test func agesTenMinutesAfterItWentDown() throws {
        var mtus = LearntPathMTUs()
        let start = ContinuousClock.now
        #expect(mtus.learn(try error(mtu: 1400), present: 1500, at: start) == 1400)
        // Said again, it is no news and no younger.
        #expect(mtus.learn(try error(mtu: 1400), present: 1400, at: start + .seconds(300)) == nil)
        #expect(mtus.mtu(to: Self.server, at: start + .seconds(599)) == 1400)
        #expect(mtus.mtu(to: Self.server, at: start + .seconds(600)) == nil)
        #expect(mtus.learn(try error(mtu: 1300), present: 1400, at: start + .seconds(500)) == 1300)
        #expect(mtus.mtu(to: Self.server, at: start + .seconds(1099)) == 1300)
        #expect(mtus.mtu(to: Self.server, at: start + .seconds(1100)) == nil)
    }

    @Test func removedServersAreForgotten() throws {
        var mtus = LearntPathMTUs()
        let start = ContinuousClock.now
        #expect(mtus.learn(try error(mtu: 1400), present: 1500, at: start) == 1400)
        mtus.forget(except: [Self.server], at: start)
        #expect(mtus.mtu(to: Self.server, at: start) == 1400)
        mtus.forget(except: [], at: start)
        #expect(mtus.mtu(to: Self.server, at: start) == nil)
    }
}
