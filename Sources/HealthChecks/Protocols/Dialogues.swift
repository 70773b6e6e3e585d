/// The protocol logic of a check over a byte stream, without the stream itself.
protocol StreamDialogue {
    /// The stage that the dialogue waits in.
    var stage: CheckStage { get }

    /// Begins the dialogue once the stream is open. Returns the first step.
    mutating func open() -> StreamStep
    mutating func receive(_ bytes: [UInt8]) -> StreamStep
}

enum StreamStep: Hashable {
    case wait
    case send([UInt8])
    case end(Outcome)
}

/// The result of a dialogue.
enum Outcome: Hashable {
    case passed
    case failed(String)
}

/// A dialogue that passes as soon as the stream is open.
struct SilentDialogue: StreamDialogue {
    var stage: CheckStage { .connect }
    mutating func open() -> StreamStep { .end(.passed) }
    mutating func receive(_ bytes: [UInt8]) -> StreamStep { .wait }
}

/// The protocol logic of a check by one datagram.
protocol DatagramDialogue {
    var datagram: [UInt8] { get }
    /// Returns the outcome of a received datagram, or nil if it does not belong to the check, so that the wait goes on.
    func judge(_ bytes: [UInt8]) -> Outcome?
    /// The outcome of silence until the deadline. Nil: silence is a time-out.
    var silence: Outcome? { get }
}

extension DatagramDialogue {
    var silence: Outcome? { nil }
}

/// The dialogue of a UDP check: a payload and its reply.
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

    /// Returns the first 32 bytes in quotes if they are printable ASCII, and else as hexadecimal digits.
    static func quoted(_ bytes: [UInt8]) -> String {
        let shown = bytes.prefix(32)
        let more = bytes.count > 32 ? " (\(bytes.count) bytes)" : ""
        if shown.allSatisfy({ (32...126).contains($0) }) {
            return "\"\(String(decoding: shown, as: UTF8.self))\"\(more)"
        }
        return "0x\(DNSRecordData(hex: shown).text)\(more)"
    }
}
