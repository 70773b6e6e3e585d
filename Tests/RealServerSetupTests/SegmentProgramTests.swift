import BPF
import CLinux
import Testing

/// Test runs of the program that lowers the MSS where nftables cannot: to 1440 in SYN-ACKs from 10.0.0.100.
struct SegmentProgramTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var flags: UInt8 = 0x12
        var source: UInt8 = 100
        var ipOptions: [UInt8] = []
        var options: [UInt8]
        /// The options after the program has run.
        var expected: [UInt8]

        /// Returns a packet with a valid checksum.
        func packet(options: [UInt8]) -> [UInt8] {
            let padded = options + [UInt8](repeating: 0, count: (4 - options.count % 4) % 4)
            var tcp: [UInt8] = [0, 80, 0xC0, 0, 0, 0, 0, 1, 0, 0, 0, 2, UInt8(5 + padded.count / 4) << 4, flags]
            tcp += [0xFA, 0xF0, 0, 0, 0, 0] + padded
            let addresses: [UInt8] = [10, 0, 0, source, 10, 0, 0, 1]
            let sum = complement([addresses, [0, 6, 0, UInt8(tcp.count)], tcp].flatMap(\.self))
            tcp[16] = sum.0
            tcp[17] = sum.1
            let length = UInt8(20 + ipOptions.count + tcp.count)
            let ip: [UInt8] = [0x45 + UInt8(ipOptions.count / 4), 0, 0, length, 0, 0, 0x40, 0, 64, 6, 0, 0] + addresses
            return [UInt8](repeating: 0, count: 12) + [8, 0] + ip + ipOptions + tcp
        }

        private func complement(_ bytes: [UInt8]) -> (UInt8, UInt8) {
            var sum = stride(from: 0, to: bytes.count, by: 2).reduce(UInt32(0)) {
                $0 + UInt32(bytes[$1]) << 8 + UInt32(bytes[$1 + 1])
            }
            while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
            return (UInt8(~sum >> 8 & 255), UInt8(~sum & 255))
        }
    }

    static let large: [UInt8] = [2, 4, 5, 0xB4]
    static let small: [UInt8] = [2, 4, 5, 0x78]
    static let lowered: [UInt8] = [2, 4, 5, 0xA0]

    static let cases = [
        Case(testDescription: "the usual SYN-ACK", options: large + [4, 2], expected: lowered + [4, 2]),
        Case(testDescription: "one with ECE", flags: 0x52, options: large, expected: lowered),
        Case(testDescription: "IP options", ipOptions: [1, 1, 1, 1], options: large, expected: lowered),
        Case(testDescription: "not the first option", options: [4, 2] + large, expected: [4, 2] + lowered),
        Case(testDescription: "at an odd place", options: [1] + large, expected: [1] + lowered),
        Case(testDescription: "a small one", options: small, expected: small),
        Case(testDescription: "after the end of options", options: [0] + large, expected: [0] + large),
        Case(testDescription: "an option without a length", options: [8, 0] + large, expected: [8, 0] + large),
        Case(testDescription: "none", options: [], expected: []),
        Case(testDescription: "a SYN", flags: 2, options: large, expected: large),
        Case(testDescription: "data that looks alike", flags: 0x10, options: large, expected: large),
        Case(testDescription: "another source", source: 101, options: large, expected: large),
    ]

    /// The layout of the program's constants.
    private struct Settings: BitwiseCopyable {
        var vip: UInt32
        var size: UInt32
    }

    @Test("the program lowers the MSS in SYN-ACKs from a VIP only")
    func everyCase() async {
        await #expect(processExitsWith: .success) {
            try #require(clinux_unshare_network() == 0)
            let object = try BPFObject(.segments)
            try object.setReadOnlyData(Settings(vip: UInt32(0x0A00_0064).bigEndian, size: 1440))
            try object.load()
            let program = try object.program(named: "lower_mss")
            for test in Self.cases {
                let result = try program.testRun(packet: test.packet(options: test.options))
                #expect(result.verdict == UInt32.max, "\(test.testDescription)")
                #expect(result.packet == test.packet(options: test.expected), "\(test.testDescription)")
            }
        }
    }
}
