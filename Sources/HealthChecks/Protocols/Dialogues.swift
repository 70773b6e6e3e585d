/// A conversation over a byte stream, apart from the stream: what comes in, what is to be sent, when it is decided.
protocol StreamDialogue {
    /// What is being waited for.
    var stage: CheckStage { get }

    /// The stream is there; what is to be said first.
    mutating func open() -> StreamStep
    mutating func receive(_ bytes: [UInt8]) -> StreamStep
}

enum StreamStep: Hashable {
    case wait
    case send([UInt8])
    case end(Outcome)
}

/// What a protocol makes of a peer.
enum Outcome: Hashable {
    case passed
    case failed(String)
}

/// Being there is all that is asked of the peer.
struct SilentDialogue: StreamDialogue {
    var stage: CheckStage { .connect }
    mutating func open() -> StreamStep { .end(.passed) }
    mutating func receive(_ bytes: [UInt8]) -> StreamStep { .wait }
}

/// A question in one datagram.
protocol DatagramDialogue {
    var datagram: [UInt8] { get }
    /// nil: it does not belong to the question, and the answer may yet come.
    func judge(_ bytes: [UInt8]) -> Outcome?
    /// What no answer until the deadline means.
    var silence: Outcome? { get }
}

extension DatagramDialogue {
    var silence: Outcome? { nil }
}

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
