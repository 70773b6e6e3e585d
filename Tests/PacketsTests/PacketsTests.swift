import Addresses
import Packets
import Testing

struct PacketsTests {
    /// The bytes are the example of RFC 1071 section 3.
    @Test("the checksum is the one of RFC 1071")
    func theChecksumIsThatOfRFC1071() {
        let words: [UInt8] = [0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7]
        #expect(InternetChecksum.of(words[...]) == ~0xDDF2)
        // Where a message begins in memory does not matter.
        #expect(InternetChecksum.of(([0xAA] + words).dropFirst()) == ~0xDDF2)
    }

    @Test(
        "an odd byte is the first of a word, and carries are added",
        arguments: [
            ([], 0xFFFF), ([0], 0xFFFF), ([0xF2], 0x0DFF), ([0x00, 0x01, 0xF2], 0x0DFE),
            // The sum of the carries has a carry, too.
            ([0xFF, 0xFF, 0x00, 0x01], 0xFFFE), ([0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x01], 0xFFFE),
            ([0xFF, 0xFF], 0), ([0xFF, 0xFE, 0x01], 0xFF00),
        ] as [([UInt8], UInt16)])
    func anOddByteIsTheFirstOfAWordAndCarriesAreAdded(bytes: [UInt8], checksum: UInt16) {
        #expect(InternetChecksum.of(bytes[...]) == checksum)
    }

    @Test("the sum of the largest packet does not overflow")
    func theLargestPacketsSumDoesNotOverflow() {
        #expect(InternetChecksum.of([UInt8](repeating: 0xFF, count: 65_536)[...]) == 0)
        #expect(InternetChecksum.of([UInt8](repeating: 0xFF, count: 65_535)[...]) == 0xFF)
    }

    /// A frame of Ethernet with a tag, IPv4 with DF, and TCP with SYN and ACK. The checksum of the IP header is
    /// correct.
    private let frame: [UInt8] = [
        0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 0x02, 0x00, 0x00, 0x00, 0x00, 0x02, 0x81, 0x00,
        0x20, 0x64, 0x08, 0x00,
        0x45, 0x00, 0x00, 0x28, 0x12, 0x34, 0x40, 0x00, 0x3D, 0x06, 0x17, 0x38, 0x0A, 0x00, 0x00, 0x01, 0x0A, 0x00,
        0x00, 0x64,
        0x9C, 0xB0, 0x00, 0x50, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x50, 0x12, 0xFF, 0xFE, 0x00, 0x00,
        0x00, 0x00,
    ]

    @Test("the fields of Ethernet, IPv4 and TCP are at their offsets")
    func fieldsAreReadWhereTheyAre() throws {
        #expect(frame[Ethernet.type] == 0x8100)
        #expect(Ethernet.Tag.isAnnounced(by: 0x8100))
        let tag = frame.dropFirst(Ethernet.length)
        #expect(tag[Ethernet.Tag.control].map { $0 & Ethernet.Tag.vlan } == 100)
        #expect(tag[Ethernet.Tag.type] == Ethernet.ipv4)
        let packet = tag.dropFirst(Ethernet.Tag.length)
        #expect(packet[IPv4.versionAndLength] == 0x45)
        #expect(packet[IPv4.totalLength] == 40)
        #expect(packet[IPv4.fragment] == IPv4.dontFragment)
        #expect(packet[IPv4.timeToLive] == 61)
        #expect(packet[IPv4.protocolNumber] == IPProtocol.tcp)
        #expect(packet[IPv4.checksum] == 0x1738)
        #expect(packet[IPv4.source] == IPv4Address("10.0.0.1"))
        #expect(packet[IPv4.destination] == IPv4Address("10.0.0.100"))
        #expect(InternetChecksum.of(packet.prefix(IPv4.length)) == 0)
        let segment = try #require(IPv4.payload(of: packet))
        #expect(segment[Ports.source] == 40112)
        #expect(segment[Ports.destination] == 80)
        #expect(segment.count == TCP.length)
        #expect(segment[TCP.sequence] == 0x0102_0304)
        #expect(segment[TCP.acknowledgement] == 0x0506_0708)
        #expect(segment[TCP.dataOffset] == 0x50)
        #expect(segment[TCP.window] == 0xFFFE)
        #expect(segment[TCP.flags] == [.syn, .ack])
    }

    @Test("the fields of ICMP are at their offsets")
    func fieldsOfICMPAreReadWhereTheyAre() {
        let message: [UInt8] = [3, 4, 0xAB, 0xCD, 0x12, 0x34, 0x05, 0x78]
        #expect(message[ICMP.type] == ICMP.unreachable)
        #expect(message[ICMP.code] == ICMP.fragmentationNeeded)
        #expect(message[ICMP.checksum] == 0xABCD)
        #expect(message[ICMP.identifier] == 0x1234)
        #expect(message[ICMP.sequence] == 1400)
        #expect(message[ICMP.nextHopMTU] == 1400)
        #expect(message.count == ICMP.length)
    }

    @Test("a field behind the end is nil")
    func aFieldBehindTheEndIsNil() {
        let packet = frame.dropFirst(18)
        #expect(packet.prefix(20)[IPv4.destination] != nil)
        #expect(packet.prefix(19)[IPv4.destination] == nil)
        #expect(packet.prefix(10)[IPv4.protocolNumber] != nil)
        #expect(packet.prefix(9)[IPv4.protocolNumber] == nil)
        #expect([UInt8]()[IPv4.versionAndLength] == nil)
    }

    @Test("a written field changes no other byte")
    func whatIsWrittenIsReadAndNothingElseChanges() {
        var bytes = [UInt8](repeating: 0xEE, count: 22)
        bytes[1..<21].write(IPv4Address(0x0102_0304), at: IPv4.destination)
        bytes[1..<21].write(0xABCD, at: IPv4.totalLength)
        bytes[1..<21].write(6, at: IPv4.protocolNumber)
        var expected = [UInt8](repeating: 0xEE, count: 22)
        expected.replaceSubrange(3...4, with: [0xAB, 0xCD])
        expected[10] = 6
        expected.replaceSubrange(17...20, with: [1, 2, 3, 4])
        #expect(bytes == expected)
    }

    @Test("a payload follows the options")
    func aPayloadFollowsTheOptions() {
        for words in 5...15 {
            let packet = [0x40 | UInt8(words)] + [UInt8](repeating: 0, count: words * 4 - 1) + [7, 8]
            #expect(IPv4.payload(of: packet) == [7, 8], "\(words) words")
            #expect(IPv4.payload(of: packet.prefix(words * 4)) == [])
            #expect(IPv4.payload(of: packet.prefix(words * 4 - 1)) == nil)
        }
        for first in [0x44, 0x65, 0x00] as [UInt8] {
            #expect(IPv4.payload(of: [first] + [UInt8](repeating: 0, count: 59)) == nil)
        }
        #expect(IPv4.payload(of: [UInt8]()) == nil)
    }
}
