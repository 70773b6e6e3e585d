/// A query and its answer, over UDP or TCP.
struct DNSDialogue: StreamDialogue, DatagramDialogue {
    private let check: DNSCheck
    private let identifier: UInt16
    private var received: [UInt8] = []

    var stage: CheckStage { .answer }

    init(_ check: DNSCheck, identifier: UInt16) {
        self.check = check
        self.identifier = identifier
    }

    var datagram: [UInt8] { DNSMessage.query(check.question, identifier: identifier) }

    /// Returns the outcome of a response, or nil if it does not belong to this query (RFC 5452 section 9.1).
    func judge(_ bytes: [UInt8]) -> Outcome? {
        let response: DNSMessage.Response
        do {
            response = try DNSMessage.response(bytes)
        } catch {
            return .failed("answer: \(error.description)")
        }
        guard response.identifier == identifier, response.isResponse else { return nil }
        if !response.name.isEmpty {
            guard response.name == check.question.name.asciiLowercased, response.type == check.question.type.code else {
                return nil
            }
        }
        guard check.responseCodes.contains(response.code) else {
            let expected = check.responseCodes.sorted().map(Self.name).joined(separator: ", ")
            return .failed("answer \(Self.name(response.code)), expected \(expected)")
        }
        let found = Set(response.answers.filter { $0.type == check.question.type }.map(\.data))
        let missing = check.records.subtracting(found)
        guard missing.isEmpty else {
            let got = found.isEmpty ? "none" : found.map(\.text).sorted().joined(separator: ", ")
            let cut = response.isTruncated ? ", and it is truncated: ask by TCP" : ""
            let lacks = missing.map(\.text).sorted().joined(separator: ", ")
            return .failed("answer to \(check.question) lacks \(lacks): \(got)\(cut)")
        }
        return .passed
    }

    mutating func open() -> StreamStep {
        let message = datagram
        return .send([UInt8(message.count >> 8), UInt8(message.count & 255)] + message)
    }

    /// Reads a message behind its length of two bytes (RFC 1035 section 4.2.2).
    mutating func receive(_ bytes: [UInt8]) -> StreamStep {
        received += bytes
        guard received.count >= 2 else { return .wait }
        let length = Int(received[0]) << 8 | Int(received[1])
        guard received.count >= 2 + length else { return .wait }
        return .end(judge(Array(received[2..<2 + length])) ?? .failed("answer: it belongs to another query"))
    }

    /// Returns the name of a response code (RFC 6895 section 2.3).
    static func name(_ code: UInt8) -> String {
        let names = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"]
        return Int(code) < names.count ? names[Int(code)] : "RCODE\(code)"
    }
}
