import Capture
import Testing

/// Blocks byte for byte, by draft-ietf-opsawg-pcapng.
struct PcapNGTests {
    @Test("the Section Header Block")
    func sectionHeader() {
        #expect(
            PcapNG.sectionHeader(application: "ipvsd")
                == hex(
                    """
                    0a 0d 0d 0a   Section Header Block
                    2c 00 00 00   44 bytes in all
                    4d 3c 2b 1a   byte-order magic: little-endian
                    01 00 00 00   version 1.0
                    ff ff ff ff ff ff ff ff   the section's length is not known
                    04 00 05 00   shb_userappl, 5 bytes
                    69 70 76 73 64 00 00 00   "ipvsd", padded
                    00 00 00 00   opt_endofopt
                    2c 00 00 00   the length again
                    """))
    }

    @Test("an Interface Description Block")
    func interface() {
        #expect(
            PcapNG.interface(name: "eth0", description: "x", snaplen: 16000)
                == hex(
                    """
                    01 00 00 00   Interface Description Block
                    30 00 00 00   48 bytes
                    01 00 00 00   LINKTYPE_ETHERNET
                    80 3e 00 00   snaplen
                    02 00 04 00 65 74 68 30   if_name
                    03 00 01 00 78 00 00 00   if_description
                    09 00 01 00 09 00 00 00   if_tsresol: 10^-9 s
                    00 00 00 00
                    30 00 00 00
                    """))
    }

    @Test("an Enhanced Packet Block")
    func packet() {
        let packet = PcapNG.Packet(
            interface: 1, time: 0x0123_4567_89AB_CDEF, bytes: [0xAA, 0xBB, 0xCC, 0xDD, 0xEE], length: 1514,
            direction: .outbound, comment: "ok", id: 7, verdict: 3, lost: 9)
        #expect(
            PcapNG.packet(packet)
                == hex(
                    """
                    06 00 00 00   Enhanced Packet Block
                    64 00 00 00   100 bytes
                    01 00 00 00   interface
                    67 45 23 01 ef cd ab 89   time, the upper word first
                    05 00 00 00 ea 05 00 00   captured, on the wire
                    aa bb cc dd ee 00 00 00   the frame, padded
                    01 00 02 00 6f 6b 00 00   opt_comment
                    02 00 04 00 02 00 00 00   epb_flags: outbound
                    04 00 08 00 09 00 00 00 00 00 00 00   epb_dropcount
                    05 00 08 00 07 00 00 00 00 00 00 00   epb_packetid
                    07 00 09 00 02 03 00 00 00 00 00 00 00 00 00 00   epb_verdict: XDP_TX
                    00 00 00 00
                    64 00 00 00
                    """))
    }

    @Test("a count of losses is left out where nothing is lost")
    func nothingLostIsNotTold() {
        var packet = PcapNG.Packet(
            interface: 0, time: 0, bytes: [], length: 0, direction: .inbound, comment: "", id: 1, verdict: 1, lost: 0)
        let without = PcapNG.packet(packet).count
        packet.lost = 1
        #expect(PcapNG.packet(packet).count == without + 12)
    }

    @Test("an Interface Statistics Block")
    func statistics() {
        #expect(
            PcapNG.statistics(interface: 2, start: 1 << 32 + 5, end: 3 << 32 + 4, delivered: 7, lost: 3)
                == hex(
                    """
                    05 00 00 00   Interface Statistics Block
                    58 00 00 00   88 bytes
                    02 00 00 00   interface
                    03 00 00 00 04 00 00 00   time: of the end
                    02 00 08 00 01 00 00 00 05 00 00 00   isb_starttime
                    03 00 08 00 03 00 00 00 04 00 00 00   isb_endtime
                    06 00 08 00 0a 00 00 00 00 00 00 00   isb_filteraccept
                    07 00 08 00 03 00 00 00 00 00 00 00   isb_osdrop
                    08 00 08 00 07 00 00 00 00 00 00 00   isb_usrdeliv
                    00 00 00 00
                    58 00 00 00
                    """))
    }

    @Test("blocks have whole words and the same length at both ends, for any length of a frame")
    func blocksAreAligned() {
        for count in 0..<70 {
            let block = PcapNG.packet(
                PcapNG.Packet(
                    interface: 0, time: 1, bytes: [UInt8](repeating: 1, count: count), length: 70,
                    direction: .inbound, comment: String(repeating: "c", count: count % 7), id: 1, verdict: 1, lost: 0))
            #expect(block.count.isMultiple(of: 4))
            #expect(Array(block[4..<8]) == Array(block.suffix(4)))
            #expect(Int(block[4]) + Int(block[5]) << 8 == block.count)
        }
    }
}

/// The pairs of hexadecimal digits before the remark, if there is one, behind three blanks.
func hex(_ text: String) -> [UInt8] {
    text.split(separator: "\n").flatMap { line in
        line.split(separator: " ", omittingEmptySubsequences: false).prefix { !$0.isEmpty }.compactMap {
            UInt8($0, radix: 16)
        }
    }
}
