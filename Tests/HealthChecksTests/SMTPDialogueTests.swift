import Testing

@testable import HealthChecks

/// The SMTP dialogue, with replies in pieces of any size.
struct SMTPDialogueTests {
    private func run(_ replies: [String], piece: Int = .max) -> (sent: String, end: Outcome?, stage: CheckStage) {
        var dialogue = SMTPDialogue(helo: "lb.example")
        var sent = ""
        #expect(dialogue.open() == .wait)
        for reply in replies {
            var rest = Array(reply.utf8)[...]
            while !rest.isEmpty {
                let step = dialogue.receive(Array(rest.prefix(piece)))
                rest = rest.dropFirst(piece)
                switch step {
                case .wait: break
                case .send(let bytes): sent += String(decoding: bytes, as: UTF8.self)
                case .end(let outcome): return (sent, outcome, dialogue.stage)
                }
            }
        }
        return (sent, nil, dialogue.stage)
    }

    @Test("greeting, HELO and QUIT pass in pieces of any size", arguments: [1, 2, 7, .max])
    func healthy(piece: Int) {
        let replies = ["220-mx.example hello\r\n220 ready\r\n", "250-mx\r\n250-SIZE\r\n250\r\n", "221 bye\n"]
        let result = run(replies, piece: piece)
        #expect(result.sent == "HELO lb.example\r\nQUIT\r\n")
        #expect(result.end == .passed)
    }

    @Test("the stage is the reply that is awaited")
    func stages() {
        #expect(run([]).stage == .greeting)
        #expect(run(["220 a\r\n"]).stage == .hello)
        #expect(run(["220 a\r\n", "250 b\r\n"]).stage == .quit)
        #expect(run(["220 a\r\n", "250-b\r\n"]).stage == .hello)
    }

    @Test("every other reply fails with its reason")
    func failures() {
        #expect(run(["554 no\r\n"]).end == .failed("greeting: \"554 no\", expected 220"))
        #expect(run(["220 a\r\n", "421 busy\r\n"]).end == .failed("HELO: \"421 busy\", expected 250"))
        #expect(run(["220 a\r\n", "250 a\r\n", "500\r\n"]).end == .failed("QUIT: \"500\", expected 221"))
        #expect(run(["SSH-2.0-x\r\n"]).end == .failed("greeting: \"SSH-2.0-x\" is no SMTP reply"))
        #expect(run(["22\r\n"]).end == .failed("greeting: \"22\" is no SMTP reply"))
        #expect(run(["220_\r\n"]).end == .failed("greeting: \"220_\" is no SMTP reply"))
        #expect(run([String(repeating: "2", count: 600)]).end == .failed("greeting: a line of more than 512 bytes"))
        #expect(
            run([String(repeating: "220-a\r\n", count: 100)]).end == .failed("greeting: a reply of more than 64 lines"))
    }
}
