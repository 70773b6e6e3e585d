import Addresses
import DataPlane
import LoadBalancing
import PacketPrograms
import Testing
import XDPDataPlane

@testable import Capture

/// The outputs of a capture, and the records that it reads.
struct CaptureOutputTests {
    private let syn = hex(
        """
        02 00 00 00 00 01 02 00 00 00 00 02 08 00
        45 00 00 28 00 01 40 00 40 06 00 00 0a 00 00 01 0a 00 00 64
        9c b0 00 50 00 00 00 00 00 00 00 00 50 02 00 00 00 00 00 00
        """)

    private func counters(_ names: String...) -> [PacketCounter] {
        PacketCounter.all.filter { names.contains($0.name) }
    }

    private func shown(
        _ counters: [PacketCounter], _ direction: PcapNG.Direction = .inbound, interface: UInt32 = 3,
        server: IPAddress? = nil, lost: UInt64 = 0, remark: String? = nil
    ) -> ShownFrame {
        let frame = CapturedPacket.Frame(bytes: syn, length: 60, time: 0)
        let packet = CapturedPacket(
            ingress: 3, verdict: 3, before: frame, after: nil, counters: counters, server: server, lost: 0)
        return ShownFrame(
            packet: packet, frame: frame, direction: direction, interface: interface, name: "eth\(interface)",
            time: 1_700_000_000_012_345_678, number: 1, lost: lost, remark: remark)
    }

    @Test("a verdict has the words of status, with the real server and further events")
    func fates() {
        func fate(_ server: IPAddress?, _ names: [PacketCounter]) -> String {
            shown(names, server: server).packet.fate
        }
        let server = IPAddress(0x0A00_000B)
        #expect(fate(server, counters("received", "forwarded")) == "forwarded to 10.0.0.11")
        #expect(fate(nil, counters("received", "forwarded")) == "forwarded to the director itself")
        #expect(
            fate(server, counters("received", "forwarded", "rescheduled", "flow-evicted"))
                == "forwarded to 10.0.0.11 (flow-evicted, rescheduled)")
        #expect(fate(nil, counters("received", "dropped-no-next-hop")) == "dropped-no-next-hop")
        #expect(fate(nil, counters("received")) == "not counted")
    }

    @Test("a frame is a line of text, behind lines about losses and remarks")
    func lines() {
        let output = TextOutput()
        let frame = shown(
            counters("received", "forwarded"), server: IPAddress(0x0A00_000B), lost: 2, remark: "something happened")
        let lines = String(decoding: output.show(frame), as: UTF8.self).split(separator: "\n")
        #expect(lines[0] == "(2 packets before the next one were lost: the buffer was full)")
        #expect(lines[1] == "(something happened)")
        // The hour depends on the machine's time zone.
        #expect(lines[2].dropFirst(2).hasPrefix(":"))
        #expect(
            lines[2].hasSuffix(
                ":20.012345 in  eth3 10.0.0.1:40112 > 10.0.0.100:80 tcp S length 60: forwarded to 10.0.0.11"))
        #expect(lines.count == 3)
    }

    @Test("an interface has one block before its first frame, and one with its counts at the end")
    func interfacesOfAFile() {
        var output = PcapNGOutput(snaplen: 100)
        var file = output.begin([(index: 3, name: "eth3")], now: 1)
        file += output.show(shown(counters("received"), .inbound, interface: 3))
        file += output.show(shown(counters("received"), .outbound, interface: 7))
        file += output.show(shown(counters("received"), .inbound, interface: 3))
        file += output.show(shown(counters("received"), .inbound, interface: 7))
        file += output.end([3: CaptureCounts(shown: 3, lost: 1)], now: 2)
        #expect(blocks(file).map(\.type) == [0x0A0D_0D0A, 1, 6, 1, 6, 6, 6, 5, 5])
        #expect(blocks(file).filter { $0.type == 6 }.map { $0.body[0] } == [0, 1, 0, 1])
        #expect(blocks(file).filter { $0.type == 5 }.map { $0.body[0] } == [0, 1])
    }

    private func blocks(_ file: [UInt8]) -> [(type: UInt32, body: [UInt8])] {
        var rest = file[...]
        var blocks: [(UInt32, [UInt8])] = []
        func word(_ offset: Int) -> UInt32 {
            (0..<4).reduce(0) { $0 | UInt32(rest[rest.startIndex + offset + $1]) << UInt32(8 * $1) }
        }
        while rest.count >= 12 {
            let length = Int(word(4))
            blocks.append((word(0), Array(rest.dropFirst(8).prefix(length - 12))))
            rest = rest.dropFirst(length)
        }
        #expect(rest.isEmpty)
        return blocks
    }

    @Test("a filter has addresses and ports in network byte order")
    func filterRow() throws {
        var filter = CaptureFilter()
        #expect(try filter.row(serverIsLocal: false).directions == 3)
        #expect(try filter.row(serverIsLocal: false).snaplen == 16000)
        filter.client = IPPrefix(IPAddress(0x0A00_0100), length: 24)
        filter.clientPort = 0x1234
        filter.vip = ServiceAddress(vip: IPAddress(0x0A00_0064), port: 0x0050, transport: .udp)
        filter.server = IPAddress(0x0A00_000B)
        filter.direction = .out
        filter.counters = Set(counters("forwarded", "dropped-internal"))
        let row = try filter.row(serverIsLocal: true)
        withUnsafeBytes(of: row) { bytes in
            #expect(Array(bytes[8..<12]) == [10, 0, 1, 0], "the client")
            #expect(Array(bytes[12..<16]) == [255, 255, 255, 0], "the client's mask")
            #expect(Array(bytes[16..<20]) == [10, 0, 0, 100], "the VIP")
            #expect(Array(bytes[20..<24]) == [10, 0, 0, 11], "the real server")
            #expect(Array(bytes[24..<26]) == [0x12, 0x34], "the client's port")
            #expect(Array(bytes[26..<28]) == [0, 0x50], "the VIP's port")
            #expect(Array(bytes[28..<31]) == [17, 1, 2], "UDP, the director itself, and frames that leave")
        }
        let indices = counters("forwarded", "dropped-internal").map(\.index)
        #expect(row.counters == indices.reduce(0) { $0 | 1 << UInt64($1) })
    }

    @Test("a record that is shorter than its lengths say is none")
    func recordsThatAreTooShortAreNone() {
        for count in 0..<MemoryLayout<ipvsd_captured>.size {
            let record = [UInt8](repeating: 255, count: count)
            #expect(record.withUnsafeBytes { CapturedPacket(record: $0, wants: .both) } == nil)
        }
        // Lengths that point behind the end.
        #expect([UInt8](repeating: 255, count: 100).withUnsafeBytes { CapturedPacket(record: $0, wants: .both) } == nil)
    }
}
