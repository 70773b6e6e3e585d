import Capture
import Testing

/// The text of a frame, in the manner of tcpdump.
struct PacketTextTests {
    private let ethernet = "02 00 00 00 00 01 02 00 00 00 00 02"
    private let tcp =
        "45 00 00 28 00 01 40 00 40 06 00 00 0a 00 00 01 0a 00 00 64 9c b0 00 50 00 00 00 00 00 00 00 00 50 12 00 00"

    private func text(_ frame: String) -> String { PacketText.text(hex(frame)) }

    @Test("TCP has its flags, and UDP none")
    func tcpAndUDP() {
        #expect(text("\(ethernet) 08 00 \(tcp)") == "10.0.0.1:40112 > 10.0.0.100:80 tcp S.")
        let udp = "45 00 00 1c 00 01 00 00 40 11 00 00 0a 00 00 01 0a 00 00 64 00 35 14 e9 00 08 00 00"
        #expect(text("\(ethernet) 08 00 \(udp)") == "10.0.0.1:53 > 10.0.0.100:5353 udp")
    }

    @Test("the packet inside a tunnel and behind VLAN tags is shown")
    func insideTheTunnelAndBehindTags() {
        let outer = "45 00 00 3c 00 00 40 00 40 04 00 00 0a 00 00 02 0a 00 00 0b"
        #expect(
            text("\(ethernet) 08 00 \(outer) \(tcp)")
                == "10.0.0.2 > 10.0.0.11 ipip 10.0.0.1:40112 > 10.0.0.100:80 tcp S.")
        #expect(
            text("\(ethernet) 88 a8 00 05 81 00 20 64 08 00 \(outer) \(tcp)")
                == "vlan 5 vlan 100 10.0.0.2 > 10.0.0.11 ipip 10.0.0.1:40112 > 10.0.0.100:80 tcp S.")
    }

    @Test("a later fragment has its offset, and ICMP its kind")
    func fragmentsAndICMP() {
        let later = "45 00 00 1c 00 01 00 b9 40 11 00 00 0a 00 00 01 0a 00 00 64 00 35 14 e9 00 08 00 00"
        #expect(text("\(ethernet) 08 00 \(later)") == "10.0.0.1 > 10.0.0.100 udp fragment at 1480")
        let icmp = "45 00 00 1c 00 01 00 00 40 01 00 00 0a 00 00 64 0a 00 00 01 03 04 00 00"
        #expect(text("\(ethernet) 08 00 \(icmp)") == "10.0.0.100 > 10.0.0.1 icmp fragmentation needed")
    }

    @Test("any beginning of a frame has a text")
    func cutOffAnywhere() {
        let whole = hex("\(ethernet) 81 00 20 64 08 00 \(tcp)")
        for count in 0..<whole.count { #expect(!PacketText.text(Array(whole.prefix(count))).isEmpty) }
        #expect(PacketText.text(Array(whole.prefix(13))) == "truncated")
        #expect(PacketText.text(Array(whole.prefix(30))) == "vlan 100 truncated IP")
        #expect(text("\(ethernet) 08 06") == "type 0x806")
    }
}
