import TestSupport
import Testing

@testable import HealthChecks

/// The encoding, decoding and judgement of DNS messages.
struct DNSMessageTests {
    private func question(_ name: String, _ type: String) throws -> DNSQuestion {
        try DNSQuestion(name: name, type: #require(DNSRecordType(type)))
    }

    /// Returns a response to `question`. Each answer is given by its bytes after the name.
    private func response(
        _ question: DNSQuestion, flags: [UInt8] = [0x81, 0x80], answers: [[UInt8]] = [], identifier: UInt16 = 0x1234
    ) -> [UInt8] {
        var bytes = DNSMessage.query(question, identifier: identifier)
        bytes.replaceSubrange(2..<4, with: flags)
        bytes[7] = UInt8(answers.count)
        return bytes + answers.flatMap { [0xC0, 12] + $0 }
    }

    private func record(_ type: UInt8, _ data: [UInt8]) -> [UInt8] {
        [0, type, 0, 1, 0, 0, 0, 60, 0, UInt8(data.count)] + data
    }

    @Test("a query is encoded as in RFC 1035")
    func query() throws {
        let bytes = DNSMessage.query(try question("www.Example.", "A"), identifier: 0xABCD)
        #expect(
            bytes == [0xAB, 0xCD, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0] + [3] + Array("www".utf8) + [7] + Array("Example".utf8)
                + [0, 0, 1, 0, 1])
        #expect(DNSMessage.query(try question(".", "NS"), identifier: 0).suffix(5) == [0, 0, 2, 0, 1])
    }

    @Test("an invalid domain name is refused", arguments: ["", "a..b", ".a", String(repeating: "a", count: 64), "a.."])
    func noNames(name: String) {
        #expect(throws: InvalidCheck.self) { try question(name, "A") }
    }

    @Test("a name has at most 255 bytes")
    func longestName() throws {
        let label = String(repeating: "a", count: 63)
        #expect(throws: Never.self) { try question("\(label).\(label).\(label).\(label.dropLast(2))", "A") }
        #expect(throws: InvalidCheck.self) { try question("\(label).\(label).\(label).\(label.dropLast())", "A") }
    }

    @Test("a record type is a mnemonic or a number")
    func types() {
        #expect(DNSRecordType("aaaa")?.code == 28)
        #expect(DNSRecordType("TYPE65")?.code == 65)
        #expect(DNSRecordType(code: 65).description == "TYPE65")
        #expect(DNSRecordType("TYPE70000") == nil)
        #expect(DNSRecordType("B") == nil)
    }

    @Test("records of all known types are decoded")
    func records() throws {
        let asked = try question("x.example", "A")
        // The name of each record is compressed: 0xC00E points to "example".
        let answers: [[UInt8]] = [
            record(1, [192, 0, 2, 1]),
            record(28, [0x20, 1, 0x0D, 0xB8] + [UInt8](repeating: 0, count: 11) + [1]),
            record(5, [3, 0x57, 0x57, 0x57, 0xC0, 14]),
            record(15, [0, 10, 1, 0x6D, 0xC0, 14]),
            record(33, [0, 0, 0, 5, 1, 187, 0xC0, 14]),
            record(16, [2, 0x61, 0x62, 1, 0x63]),
            record(65, [0xDE, 0xAD]),
        ]
        let parsed = try DNSMessage.response(response(asked, answers: answers))
        #expect(parsed.name == "x.example")
        #expect(parsed.type == 1)
        #expect(parsed.isResponse)
        #expect(parsed.code == 0)
        #expect(
            parsed.answers.map(\.data.text) == [
                "192.0.2.1", "2001:db8::1", "www.example", "10 m.example", "0 5 443 example", "abc", "dead",
            ])
        for (text, type, answer) in [
            ("192.0.2.1", "A", 0), ("2001:DB8:0::1", "AAAA", 1), ("WWW.example.", "CNAME", 2),
            ("10 M.example", "MX", 3),
            ("0 5 443 example", "SRV", 4), ("abc", "TXT", 5), ("DEAD", "TYPE65", 6),
        ] {
            let expected = try DNSRecordData(text, type: #require(DNSRecordType(type)))
            #expect(expected == parsed.answers[answer].data)
        }
    }

    @Test(
        "data that does not fit its type is refused",
        arguments: [
            ("1.2.3", "A"), ("1::2::3", "AAAA"), ("mail.example", "MX"), ("a mail.example", "MX"), ("1 2 x", "SRV"),
            ("abc", "TYPE65"), ("xy", "TYPE65"), ("a..b", "NS"),
        ])
    func noData(text: String, type: String) {
        #expect(throws: InvalidCheck.self) { try DNSRecordData(text, type: #require(DNSRecordType(type))) }
    }

    @Test("no malformed message loops or traps")
    func malformed() throws {
        let asked = try question("x.example", "A")
        let whole = response(asked, answers: [record(1, [1, 2, 3, 4]), record(15, [0, 10, 1, 0x6D, 0xC0, 14])])
        for length in 0..<whole.count {
            #expect(throws: DNSMessage.Malformed.self, "\(length)") {
                try DNSMessage.response(Array(whole.prefix(length)))
            }
        }
        var generator = SplitMix(seed: 7)
        for _ in 0..<20_000 {
            var bytes = whole
            for _ in 0..<3 {
                bytes[Int.random(in: 4..<bytes.count, using: &generator)] = .random(
                    in: .min ... .max, using: &generator)
            }
            _ = try? DNSMessage.response(bytes)
        }
    }

    @Test(
        "an invalid name in a message is an error",
        arguments: [[0xC0, 12], [0xC0, 0x7F], [1, 0x61, 0xC0, 12], [0x80, 1], [0x40]] as [[UInt8]])
    func names(bytes: [UInt8]) {
        // The names are: a pointer to itself, a pointer forward, a loop through a label, and labels of unknown kinds.
        let message = [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0] + bytes + [0, 1, 0, 1]
        #expect(throws: DNSMessage.Malformed.self) { try DNSMessage.response(message) }
    }

    @Test("a response is judged by its code and its records")
    func verdicts() throws {
        let asked = try question("x.example", "A")
        let address = record(1, [192, 0, 2, 1])
        let wanted = try DNSRecordData("192.0.2.1", type: asked.type)
        let other = try DNSRecordData("192.0.2.9", type: asked.type)
        func judge(_ check: DNSCheck, _ bytes: [UInt8]) -> Outcome? {
            DNSDialogue(check, identifier: 0x1234).judge(bytes)
        }
        let plain = DNSCheck(question: asked)
        #expect(judge(plain, response(asked)) == .passed)
        #expect(judge(plain, response(asked, answers: [address])) == .passed)
        #expect(judge(plain, response(asked, flags: [0x81, 0x82])) == .failed("answer SERVFAIL, expected NOERROR"))
        #expect(judge(DNSCheck(question: asked, responseCodes: [3]), response(asked, flags: [0x81, 0x83])) == .passed)
        #expect(judge(DNSCheck(question: asked, records: [wanted]), response(asked, answers: [address])) == .passed)
        #expect(
            judge(DNSCheck(question: asked, records: [wanted, other]), response(asked, answers: [address]))
                == .failed("answer to x.example A lacks 192.0.2.9: 192.0.2.1"))
        #expect(
            judge(DNSCheck(question: asked, records: [wanted]), response(asked, flags: [0x83, 0x80]))
                == .failed("answer to x.example A lacks 192.0.2.1: none, and it is truncated: ask by TCP"))
        #expect(judge(plain, [1, 2, 3]) == .failed("answer: it ends early"))
        // None of these messages answers the query. One has another identifier, one is a query itself, and two have
        // another question.
        #expect(judge(plain, response(asked, identifier: 0x1235)) == nil)
        #expect(judge(plain, response(asked, flags: [1, 0])) == nil)
        #expect(judge(plain, response(try question("y.example", "A"))) == nil)
        #expect(judge(plain, response(try question("x.example", "NS"))) == nil)
    }

    @Test("a message over TCP may arrive in any pieces")
    func overTCP() throws {
        let asked = try question("x.example", "A")
        let message = response(asked)
        let framed = [0, UInt8(message.count)] + message
        for piece in 1...framed.count {
            var dialogue = DNSDialogue(DNSCheck(question: asked), identifier: 0x1234)
            let query = DNSMessage.query(asked, identifier: 0x1234)
            #expect(dialogue.open() == .send([0, UInt8(query.count)] + query))
            var last = StreamStep.wait
            for start in stride(from: 0, to: framed.count, by: piece) {
                #expect(last == .wait)
                last = dialogue.receive(Array(framed[start..<min(start + piece, framed.count)]))
            }
            #expect(last == .end(.passed), "\(piece)")
        }
    }
}
