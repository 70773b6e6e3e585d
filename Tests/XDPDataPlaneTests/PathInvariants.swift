import DataPlane
import PacketPrograms

@testable import XDPDataPlane

/// The invariants that hold for every packet, whatever the model says. The raw value is the name.
enum PathInvariant: String {
    case strangersUnchanged = "a packet for no VIP is neither changed nor counted"
    case passedUnchanged = "a packet for the director's own stack is unchanged"
    case outerChecksum = "the outer IP checksum is right"
    case innerUntouched = "the inner packet is untouched"
    case answerChecksums = "the checksums of an answer are right"
    case countersBalance = "received = forwarded + passed + answered + dropped"

    /// Returns the invariants that are violated. `isForVIP` depends on the packet's destination alone. `moved` has the
    /// counters by number.
    static func broken(
        by verdict: Verdict?, _ output: [UInt8], of input: [UInt8], isForVIP: Bool, moved: [UInt64]
    ) -> [PathInvariant] {
        var broken: [PathInvariant] = []
        if !isForVIP, verdict != .pass || output != input || moved.contains(where: { $0 > 0 }) {
            broken.append(.strangersUnchanged)
        }
        if verdict == .pass, output != input { broken.append(.passedUnchanged) }
        if !balances(moved) { broken.append(.countersBalance) }
        guard verdict == .transmit || verdict == .redirect, let l3 = PathModel.ipOffset(of: input) else {
            return broken
        }
        guard let start = PathModel.ipOffset(of: output) else { return broken + [.outerChecksum] }
        let inner = Array(input[l3...])
        if moved[Int(IPVSD_FORWARDED.rawValue)] > 0 {
            if internetChecksum(Array(output[start..<start + 20])) != 0 { broken.append(.outerChecksum) }
            if Array(output[(start + 20)...]) != inner { broken.append(.innerUntouched) }
        } else if isWhole(inner) || output[start + 9] == 6 || output[start + Int(output[start] & 15) * 4] != 0 {
            // A wrong checksum of an echo request stays wrong in the reply.
            if !isWhole(Array(output[start...])) { broken.append(.answerChecksums) }
        }
        return broken
    }

    private static func balances(_ moved: [UInt64]) -> Bool {
        var ends: UInt64 = 0
        for counter in PacketCounter.all where counter.group != .received && counter.group != .event {
            ends += moved[counter.index]
        }
        return moved[Int(IPVSD_RECEIVED.rawValue)] == ends && ends <= 1
    }

    /// Whether the bytes are an IP packet with TCP or ICMP, perhaps padded, whose checksums are right.
    private static func isWhole(_ packet: [UInt8]) -> Bool {
        let header = Int(packet[0] & 15) * 4, length = Int(word16(packet, 2))
        guard header >= 20, header <= length, length <= packet.count else { return false }
        let pseudo =
            packet[9] == 1 ? [] : Array(packet[12..<20]) + [0, packet[9]] + big(UInt16(length - header))
        return internetChecksum(Array(packet[..<header])) == 0
            && internetChecksum(pseudo + Array(packet[header..<length])) == 0
    }
}
