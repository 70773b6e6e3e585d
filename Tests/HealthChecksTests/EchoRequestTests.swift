import Addresses
import NIOCore
import Testing

@testable import HealthChecks

/// The echo request's bytes and the recognition of its reply.
struct EchoRequestTests {
    private let destination = IPv4Address(0xC633_640A)

    @Test(
        "a request has its identifier, its sequence number and a correct checksum",
        arguments: [0, 1, 0x1234, 0x7FFF, 0xF7FD, 0xF7FE, 0xF7FF, 0xFFFF] as [UInt16])
    func request(identifier: UInt16) {
        let bytes = EchoRequest(identifier: identifier, destination: destination)
            .bytes(sequence: 1, size: 28)
        let words = stride(from: 0, to: bytes.count, by: 2).map { UInt32(bytes[$0]) << 8 | UInt32(bytes[$0 + 1]) }
        #expect(words.count == 4)
        #expect(words[0] == 0x0800)
        #expect(words[2] == UInt32(identifier))
        #expect(words[3] == 1)
        var sum = words.reduce(0, +)
        while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
        #expect(sum == 0xFFFF)
    }

    /// Returns a reply as a raw socket delivers it, behind `prefix` bytes that are already read.
    private func packet(
        from source: IPv4Address, words: UInt8 = 5, type: UInt8 = 0, identifier: UInt16, prefix: Int = 0
    ) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeRepeatingByte(0xEE, count: prefix)
        buffer.writeBytes([0x40 | words, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0])
        buffer.writeInteger(source.value)
        buffer.writeInteger(UInt32(0x0A00_0001))
        buffer.writeRepeatingByte(1, count: Int(words) * 4 - 20)
        buffer.writeBytes([type, 0, 0, 0])
        buffer.writeInteger(identifier)
        buffer.writeInteger(UInt16(1))
        buffer.moveReaderIndex(forwardBy: prefix)
        return buffer
    }

    @Test("only the reply to the request is recognised")
    func replies() {
        let echo = EchoRequest(identifier: 0xABCD, destination: destination)
        #expect(echo.isAnswered(by: packet(from: destination, identifier: 0xABCD), sequence: 1))
        #expect(echo.isAnswered(by: packet(from: destination, words: 15, identifier: 0xABCD), sequence: 1))
        #expect(echo.isAnswered(by: packet(from: destination, identifier: 0xABCD, prefix: 3), sequence: 1))
        #expect(!echo.isAnswered(by: packet(from: destination, identifier: 0xABCC), sequence: 1))
        #expect(!echo.isAnswered(by: packet(from: destination, identifier: 0xABCD), sequence: 2))
        #expect(!echo.isAnswered(by: packet(from: destination, type: 8, identifier: 0xABCD), sequence: 1))
        #expect(!echo.isAnswered(by: packet(from: destination, type: 3, identifier: 0xABCD), sequence: 1))
        #expect(!echo.isAnswered(by: packet(from: IPv4Address(destination.value + 1), identifier: 0xABCD), sequence: 1))
    }

    @Test("a truncated reply is not recognised")
    func truncatedReplies() {
        let echo = EchoRequest(identifier: 0xABCD, destination: destination)
        let whole = packet(from: destination, words: 6, identifier: 0xABCD)
        for length in 0..<30 {
            let part = whole.getSlice(at: 0, length: length) ?? ByteBuffer()
            #expect(!echo.isAnswered(by: part, sequence: 1), "\(length)")
        }
    }
}
