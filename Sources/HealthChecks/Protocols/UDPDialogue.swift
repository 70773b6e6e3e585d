/// A payload and its reply.
struct UDPDialogue: DatagramDialogue {
    let check: UDPCheck

    var datagram: [UInt8] { check.payload }

    func judge(_ bytes: [UInt8]) -> Outcome? {
        let (matches, expected) =
            switch check.reply {
            case .any, .optional: (true, "")
            case .equals(let reply): (bytes == reply, "\(Self.quoted(reply))")
            case .startsWith(let start): (bytes.starts(with: start), "\(Self.quoted(start)) at its start")
            }
        return matches ? .passed : .failed("answer \(Self.quoted(bytes)), expected \(expected)")
    }

    var silence: Outcome? { check.reply == .optional ? .passed : nil }

    /// Text where it is text, else hexadecimal digits; 32 bytes of it.
    static func quoted(_ bytes: [UInt8]) -> String {
        let shown = bytes.prefix(32)
        let more = bytes.count > 32 ? " (\(bytes.count) bytes)" : ""
        if shown.allSatisfy({ (32...126).contains($0) }) {
            return "\"\(String(decoding: shown, as: UTF8.self))\"\(more)"
        }
        return "0x\(DNSRecordData(hex: shown).text)\(more)"
    }
}
