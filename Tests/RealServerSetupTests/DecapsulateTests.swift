import BPF
import CLinux
import Testing

/// Test runs of the stand-in's program. The packets arrive on lo, whose MAC address is zero.
struct DecapsulateTests {
    static let pass = UInt32.max  // TC_ACT_UNSPEC
    static let drop: UInt32 = 2  // TC_ACT_SHOT
    static let redirect: UInt32 = 7  // TC_ACT_REDIRECT

    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var verdict: UInt32
        var packet: [UInt8]
        /// The inner packet's second byte afterwards.
        var tos: UInt8?
    }

    static func cases() -> [Case] {
        func tunnelled(outer: UInt8 = 0, inner: UInt8 = 0, change: (inout Packet) -> Void = { _ in }) -> [UInt8] {
            var packet = Packet(tos: outer, payload: Packet(tos: inner, proto: 17, payload: Array(1...28)).bytes)
            change(&packet)
            return frame(packet.bytes)
        }
        let plain = frame(Packet(proto: 17, payload: Array(1...48)).bytes)
        return [
            Case(testDescription: "IPIP", verdict: redirect, packet: tunnelled(), tos: 0),
            Case(
                testDescription: "outer options", verdict: redirect, packet: tunnelled { $0.options = [1, 1, 1, 1] },
                tos: 0),
            Case(testDescription: "no IPIP", verdict: pass, packet: plain),
            Case(testDescription: "more fragments", verdict: pass, packet: tunnelled { $0.fragment = 0x2000 }),
            Case(testDescription: "a later fragment", verdict: pass, packet: tunnelled { $0.fragment = 5 }),
            Case(testDescription: "DF", verdict: redirect, packet: tunnelled { $0.fragment = 0x4000 }, tos: 0),
            Case(testDescription: "inner IPv6", verdict: pass, packet: tunnelled { $0.payload[0] = 0x65 }),
            Case(testDescription: "inner header cut", verdict: pass, packet: tunnelled { $0.payload.removeLast(30) }),
            Case(testDescription: "inner longer than outer", verdict: pass, packet: tunnelled { $0.payload[3] += 1 }),
            Case(testDescription: "another machine's MAC", verdict: pass, packet: [2] + tunnelled().dropFirst()),
            // RFC 6040, figure 4. The inner packet's DSCP stays.
            Case(testDescription: "CE on not-ECT", verdict: drop, packet: tunnelled(outer: 3, inner: 0xB8)),
            Case(
                testDescription: "CE on ECT(0)", verdict: redirect, packet: tunnelled(outer: 3, inner: 0xBA), tos: 0xBB),
            Case(testDescription: "CE on ECT(1)", verdict: redirect, packet: tunnelled(outer: 3, inner: 1), tos: 3),
            Case(testDescription: "ECT(1) on ECT(0)", verdict: redirect, packet: tunnelled(outer: 1, inner: 2), tos: 1),
            Case(testDescription: "ECT(0) on ECT(1)", verdict: redirect, packet: tunnelled(outer: 2, inner: 1), tos: 1),
            Case(testDescription: "not-ECT on CE", verdict: redirect, packet: tunnelled(outer: 0, inner: 3), tos: 3),
        ]
    }

    @Test("the stand-in's program decapsulates IPIP and passes other packets")
    func everyCase() async {
        await #expect(processExitsWith: .success) {
            try #require(clinux_unshare_network() == 0)
            let object = try BPFObject(.decapsulate)
            try object.setReadOnlyData(UInt32(1))
            try object.load()
            let program = try object.program(named: "decapsulate")
            for test in Self.cases() {
                let result = try program.testRun(packet: test.packet)
                #expect(result.verdict == test.verdict, "\(test.testDescription)")
                guard let tos = test.tos else { continue }
                let inner = Packet(tos: tos, proto: 17, payload: Array(1...28)).bytes
                // A TUN device has no link-layer header, so the redirect has taken that off as well.
                #expect(Array(result.packet.suffix(inner.count)) == inner, "\(test.testDescription)")
            }
        }
    }
}

/// Ethernet from and to zero addresses around an IPv4 packet.
private func frame(_ packet: [UInt8]) -> [UInt8] { [UInt8](repeating: 0, count: 12) + [8, 0] + packet }

/// An IPv4 packet from 10.0.0.1 to 10.0.0.2 with a valid checksum.
private struct Packet {
    var tos: UInt8 = 0
    var proto: UInt8 = 4
    /// Flags and offset, host byte order.
    var fragment: UInt16 = 0
    var options: [UInt8] = []
    var payload: [UInt8]

    var bytes: [UInt8] {
        let length = UInt16(20 + options.count + payload.count)
        var header: [UInt8] = [0x45 + UInt8(options.count / 4), tos, UInt8(length >> 8), UInt8(length & 255), 0, 1]
        header += [UInt8(fragment >> 8), UInt8(fragment & 255), 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2] + options
        var sum = stride(from: 0, to: header.count, by: 2).reduce(UInt32(0)) {
            $0 + UInt32(header[$1]) << 8 + UInt32(header[$1 + 1])
        }
        while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
        header[10] = UInt8(~sum >> 8 & 255)
        header[11] = UInt8(~sum & 255)
        return header + payload
    }
}
