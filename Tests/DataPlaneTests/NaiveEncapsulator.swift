import DataPlane
import LoadBalancing
import Netlink

/// What the packet program is to make of a packet, byte by byte, from RFC 2003 and RFC 6040 alone.
enum NaiveEncapsulator {
    /// The frame on its way to the real server. `id` is the outer packet's.
    static func encapsulate(_ frame: [UInt8], path: Path, id: UInt16) -> [UInt8] {
        var start = 12
        while [0x8100, 0x88A8].contains(word16(frame, start)) { start += 4 }
        let inner = Array(frame[(start + 2)...])
        var outer: [UInt8] = [0x45, inner[1]]
        outer += big(word16(inner, 2) + 20)
        outer += big(id)
        outer += [inner[6] & 0x40, 0]
        outer += [64, 4, 0, 0]
        outer += big(path.source.value)
        outer += big(path.destination.value)
        outer.replaceSubrange(10..<12, with: big(internetChecksum(outer)))
        return (path.nextHopMAC?.bytes ?? []) + path.sourceMAC.bytes + [0x08, 0x00] + outer + inner
    }

    /// The identifier of an encapsulated packet.
    static func outerID(of frame: [UInt8]) -> UInt16 { frame.count >= 20 ? word16(frame, 18) : 0 }
}
