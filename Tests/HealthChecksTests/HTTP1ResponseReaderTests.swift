import TestSupport
import Testing

@testable import HealthChecks

/// Responses of HTTP/1 as servers send them, with the leniency of curl 7.88 as observed.
struct HTTP1ResponseReaderTests {
    private typealias Reader = HTTP1ResponseReader

    /// Returns the last status, the body, and whether the response ended. The bytes arrive in pieces of these sizes,
    /// repeatedly.
    private static func read(
        _ bytes: [UInt8], method: String = "GET", pieces: [Int] = [1 << 20]
    ) throws -> (status: Int, body: String, isOver: Bool) {
        var reader = Reader(method: method)
        var events: [HTTPEvent] = []
        var (place, turn) = (0, 0)
        while place < bytes.count {
            let count = min(pieces[turn % pieces.count], bytes.count - place)
            events += try reader.receive(Array(bytes[place..<place + count]))
            (place, turn) = (place + count, turn + 1)
        }
        events += reader.finish()
        var result = (status: 0, body: "", isOver: false)
        for event in events {
            #expect(!result.isOver, "nothing comes behind the end")
            switch event {
            case .head(let status, _): result.status = status
            case .body(let bytes): result.body += String(decoding: bytes, as: UTF8.self)
            case .trailers: break
            case .end: result.isOver = true
            }
        }
        return result
    }

    private static let head = "HTTP/1.1 200 OK\r\n"
    private static let chunked = head + "Transfer-Encoding: chunked\r\n\r\n"
    private static let length = "Content-Length: 2\r\n\r\nok"

    static let accepted: [String] = [
        head + length, "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "HTTP/1.1 200 OK\r\nA: b\nContent-Length: 2\r\n\nok",
        head + "X: a\r\n  b\r\n\tc\r\n" + length, head + "Content-Length:\r\n 2\r\n\r\nok",
        head + "Content-Length: 2\r\n" + length, head + "Content-Length: 2, 2\r\n\r\nok",
        head + "Content-Length : 2\r\n\r\nok", head + "Content-Length:    2   \r\n\r\nok",
        head + "Content-Length: +2\r\n\r\nok", head + "Content-Length: 2x\r\n\r\nok",
        head + "Content-Length: 99999999999999999999999\r\n\r\nok", head + "Content-Length: 2\r\r\n\r\nok",
        head + ": x\r\n" + length, head + "A B: x\r\n" + length, head + "X: a\u{1}b\r\n" + length,
        head + "X: a\rb\r\n" + length, head + "X: é\r\n" + length,
        "HTTP/1.1 200\r\n" + length, "HTTP/1.1 200 \r\n" + length, "HTTP/1.1  200 OK\r\n" + length,
        "HTTP/1.1 200OK\r\n" + length, "http/1.1 200 OK\r\n" + length, "HTTP/1.0 200 OK\r\n" + length,
        "HTTP/2 200 OK\r\n" + length, "\r\n\n" + head + length, head + length + "xxxx", head + "\r\nok",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + head + length,
        chunked + "2\r\nok\r\n0\r\n\r\n", chunked + "1;a=b\no\n1 \nk\n0\n\n",
        chunked + "0002\r\nok\r\n0\r\nX: y\r\n z\r\n\r\n",
        head + "transfer-encoding: CHUNKED\r\nContent-Length: 5\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        head + "Transfer-Encoding: identity\r\n" + length, head + "Transfer-Encoding: foo\r\n\r\nok",
        head + "X: " + String(repeating: "a", count: 20_000) + "\r\n" + length,
        head + String(repeating: "Set-Cookie: " + String(repeating: "b", count: 4000) + "\r\n", count: 64) + length,
    ]

    @Test("every response that curl accepts is accepted, in any pieces", arguments: accepted)
    func whatCurlAccepts(response: String) throws {
        let bytes = Array(response.utf8)
        for pieces in [[1 << 20], [1], [3, 1, 7], [65_536]] {
            let result = try Self.read(bytes, pieces: pieces)
            #expect(result == (200, "ok", true), "\(response.prefix(200).debugDescription) in \(pieces): \(result)")
        }
    }

    @Test("a response without a body ends with its head")
    func responsesWithoutBody() throws {
        for (text, method) in [
            ("HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\n", "GET"), ("HTTP/1.1 304 No\r\n\r\n", "GET"),
            ("HTTP/1.1 101 Up\r\nUpgrade: x\r\n\r\n", "GET"), (Self.head + "Content-Length: 2\r\n\r\n", "HEAD"),
            (Self.head + "Content-Length: 0\r\n\r\n", "GET"), (Self.chunked + "0\r\n\r\n", "GET"),
        ] {
            let result = try Self.read(Array(text.utf8), method: method)
            #expect(result.isOver, "\(text.debugDescription)")
            #expect(result.body.isEmpty, "\(text.debugDescription)")
        }
    }

    @Test(
        "a truncated response has no end",
        arguments: [
            "", "HTTP/1.1 200 OK", head, head + "Content-Length: 2\r\n", head + "Content-Length: 5\r\n\r\nok", chunked,
            chunked + "2\r\nok\r\n", chunked + "2\r\nok\r\n0\r\n", chunked + "5\r\nok", "HTTP/1.1 100 Continue\r\n\r\n",
        ])
    func whatIsCutOffIsNotOver(response: String) throws {
        #expect(try !Self.read(Array(response.utf8)).isOver)
    }

    @Test(
        "a response that is not HTTP/1 is refused with its reason",
        arguments: [
            ("SSH-2.0-OpenSSH\r\n", "it begins with \"SSH-2.0-OpenSSH"),
            ("\u{15}\u{3}\u{1}", "it begins with 0x150301"),
            ("ok", "it begins with \"ok\""), ("HTTP/1.1 2000 OK\r\n", "it begins"), ("HTTP/1.1 20 OK\r\n", "it begins"),
            ("HTTP/1.1 099 OK\r\n", "it begins"), ("HTTP 200 OK\r\n", "it begins"), ("HTTP/4 200 OK\r\n", "it begins"),
            (head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok", "two values of Content-Length"),
            (head + "Content-Length: -2\r\n\r\nok", "Content-Length \"-2\""),
            (head + "Content-Length:\r\n\r\n", "Content-Length"),
            (head + "X: a\0b\r\n\r\n", "a NUL byte"), (head + "garbage\r\n\r\n", "without colon"),
            (head + " b\r\n\r\n", "folded"),
            (chunked + "zz\r\n", "a chunk's size"), (chunked + "00000000000000002\r\n", "a chunk's size"),
            (chunked + "2\r\nok0\r\n", "longer than it says"), (chunked + "\r\n", "a chunk's size"),
        ])
    func whatIsNone(response: String, reason: String) {
        for pieces in [[1 << 20], [1]] {
            do {
                _ = try Self.read(Array(response.utf8), pieces: pieces)
                Issue.record("accepted \(response.debugDescription)")
            } catch {
                // Another protocol is recognised by its first bytes, so the reason for single bytes names only those.
                let said = (error as? Reader.Invalid)?.reason ?? ""
                #expect(said.contains(pieces == [1] ? String(reason.prefix(9)) : reason), "\(error)")
            }
        }
    }

    @Test("an endless head is refused")
    func whatNeverEndsIsBounded() {
        for (start, more) in [
            ("HTTP/1.1 200 ", "x"), (Self.head, "X: y\r\n"), (Self.head + "X: ", "yyyyyyyy"),
            (Self.head + "X: y\r\n", " z\r\n"),
            ("", "HTTP/1.1 103 Early\r\n\r\n"), ("", "\r\n"), (Self.chunked, "0"), (Self.chunked + "0\r\n", "X: y\r\n"),
        ] {
            var reader = Reader(method: "GET")
            var read = 0
            #expect(throws: Reader.Invalid.self, "\(start.debugDescription)") {
                _ = try reader.receive(Array(start.utf8))
                let piece = Array(String(repeating: more, count: 1000).utf8)
                while read < 1 << 20 {
                    read += piece.count
                    _ = try reader.receive(piece)
                }
            }
        }
    }

    @Test("a random response has the same events in one piece as in many")
    func fuzz() {
        var random = SplitMix(seed: 9112)
        let words: [[UInt8]] =
            [
                "HTTP/1.1 200 OK", "\r\n", "\n", "\r", ":", " ", "\t", ",", ";", "0", "2", "ff", "ok",
                "Content-Length: 2",
                "Transfer-Encoding: chunked", "X: y", "HTTP/1.1 100 C", "\0", "é",
            ].map { Array($0.utf8) }
        for _ in 0..<20_000 {
            var bytes = Self.accepted.randomElement(using: &random).map { Array($0.utf8.prefix(400)) } ?? []
            for _ in 0..<Int.random(in: 0...6, using: &random) {
                let place = Int.random(in: 0...bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes.insert(contentsOf: words.randomElement(using: &random) ?? [], at: place)
                case 1: if place < bytes.count { bytes[place] = .random(in: 0...255, using: &random) }
                case 2: bytes.removeSubrange(place..<min(bytes.count, place + Int.random(in: 0...9, using: &random)))
                default: bytes.insert(contentsOf: bytes.prefix(20), at: place)
                }
            }
            let sizes = (0..<5).map { _ in Int.random(in: 1...40, using: &random) }
            let whole = Result { try Self.read(bytes) }
            let pieces = Result { try Self.read(bytes, pieces: sizes) }
            switch (whole, pieces) {
            case (.success(let one), .success(let other)): #expect(one == other, "\(bytes)")
            // The reasons may differ, as a piece shows only the first bytes of another protocol.
            case (.failure, .failure): break
            default: Issue.record("\(whole) at once, \(pieces) in pieces of \(sizes): \(bytes)")
            }
        }
    }
}
