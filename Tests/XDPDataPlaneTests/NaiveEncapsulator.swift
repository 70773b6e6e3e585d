import Addresses
import DataPlane
import LoadBalancing
import Netlink
import XDPDataPlane

/// The encapsulation of packets, byte by byte, from RFC 2003 and RFC 6040 alone.
enum NaiveEncapsulator {
    /// Returns the frame that goes to the real server. `id` is the identification of the outer packet.
    static func encapsulate(_ frame: [UInt8], path: Path, id: UInt16) -> [UInt8] {
        let inner = Array(frame[ipOffset(of: frame)...])
        var outer: [UInt8] = [0x45, inner[1]]
        outer += big(word16(inner, 2) + 20)
        outer += big(id)
        outer += [inner[6] & 0x40, 0]
        outer += [64, 4, 0, 0]
        outer += big(path.source.value)
        outer += big(path.destination.value)
        outer.replaceSubrange(10..<12, with: big(internetChecksum(outer)))
        let tags = path.tags.flatMap { big($0.protocolID) + big($0.id) }
        return (path.nextHopMAC?.bytes ?? []) + path.sourceMAC.bytes + tags + [0x08, 0x00] + outer + inner
    }

    /// Returns the identification of the outer packet, or 0 for a frame that is too short.
    static func outerID(of frame: [UInt8]) -> UInt16 {
        let start = ipOffset(of: frame)
        return frame.count >= start + 20 ? word16(frame, start + 4) : 0
    }

    private static func ipOffset(of frame: [UInt8]) -> Int {
        var type = 12
        while frame.count >= type + 2, [0x8100, 0x88A8].contains(word16(frame, type)) { type += 4 }
        return type + 2
    }
}
