import Foundation
import Logging
import ServiceConfiguration
import Synchronization
import Testing

@testable import ipvsd

/// The log: a record on each line, for people and for programs.
struct LogTests {
    private static let record = LogRecord(
        time: timespec(tv_sec: 1_764_554_513, tv_nsec: 42_900_000), level: "warning", part: "Director",
        message: "real server 10.0.0.11 is down: refused",
        fields: ["service": "10.0.0.100:80/tcp", "server": "10.0.0.11", "reason": "connect: connection refused"])

    /// The text behind the time, whose form depends on the zone.
    private static func words(of record: LogRecord) -> String {
        String(record.text.drop { $0 != " " }.dropFirst())
    }

    @Test("a line has the time, level, part and sentence, and the fields by name behind them")
    func text() {
        #expect(
            Self.words(of: Self.record) == """
                warning ipvsd: [Director] real server 10.0.0.11 is down: refused reason="connect: connection refused" \
                server=10.0.0.11 service=10.0.0.100:80/tcp
                """)
        #expect(
            Self.record.text.wholeMatch(of: /2025-1[12]-[0-9]{2}T[0-9]{2}:[0-9]{2}:53[+-][0-9]{4} warning .*/) != nil)
    }

    @Test(
        "a value in a line is quoted where it would not be one word",
        arguments: [
            ("plain", "plain"), ("10.0.0.100:80/tcp", "10.0.0.100:80/tcp"), ("", #""""#), ("a b", #""a b""#),
            ("a=b", #""a=b""#), (#"say "no""#, #""say \"no\"""#), (#"a\b"#, #""a\\b""#), ("a\nb", #""a\nb""#),
            ("a\u{1B}[2J", #""a\u001b[2J""#),
        ])
    func value(value: String, word: String) {
        var record = Self.record
        record.fields = ["key": value]
        #expect(Self.words(of: record).hasSuffix(" key=\(word)"))
    }

    @Test("an object of JSON has the same, with the time in UTC to the millisecond")
    func json() {
        #expect(
            Self.record.json == """
                {"time":"2025-12-01T02:01:53.042Z","level":"warning","part":"Director",\
                "message":"real server 10.0.0.11 is down: refused","reason":"connect: connection refused",\
                "server":"10.0.0.11","service":"10.0.0.100:80/tcp"}
                """)
    }

    @Test(
        "any text comes back out of the JSON, on one line",
        arguments: ["\"\\/\n\r\t\u{0}\u{1B}", "é\u{2028}\u{202E}😀", "\"\u{301},\\\u{301}"])
    func escapes(text: String) throws {
        var record = Self.record
        (record.message, record.fields) = (text, ["key": text])
        #expect(!record.json.contains { $0.isNewline })
        let decoded = try JSONDecoder().decode([String: String].self, from: Data(record.json.utf8))
        #expect(decoded["message"] == text)
        #expect(decoded["key"] == text)
    }

    @Test("a field does not replace one of the record's own keys")
    func ownKeys() throws {
        var record = Self.record
        record.fields = ["level": "none", "message": "another"]
        let decoded = try JSONDecoder().decode([String: String].self, from: Data(record.json.utf8))
        #expect(decoded["level"] == "warning")
        #expect(decoded["message"] == Self.record.message)
    }

    @Test("loggers write records with the metadata of logger and call, in the format that is set now")
    func logger() throws {
        let lines = Mutex<[String]>([])
        let output = LogOutput(.text) { line in lines.withLock { $0.append(line) } }
        var logger = output.logger(isVerbose: false)
        logger[metadataKey: "service"] = "10.0.0.100:80/tcp"
        logger.debug("not shown")
        logger.notice("drained", metadata: ["server": "10.0.0.11"])
        output.format = .json
        logger.notice("drained", metadata: ["service": "another"])
        let written = lines.withLock(\.self)
        try #require(written.count == 2)
        #expect(
            written[0].hasSuffix(
                " notice ipvsd: [ContractTests] drained server=10.0.0.11 service=10.0.0.100:80/tcp\n"))
        let decoded = try JSONDecoder().decode([String: String].self, from: Data(written[1].utf8))
        #expect(decoded["part"] == "ContractTests")
        #expect(decoded["service"] == "another")
    }

    @Test("a director that cannot start says so in JSON with --log-format json")
    func lastWords() throws {
        let arguments = [
            "--vip", "10.0.0.100:80", "--backends", "10.0.0.11", "--interface", "no-such-device", "--instance",
            "contract-tests-log", "--log-format",
        ]
        let outcome = try Executable.run(arguments + ["json"])
        let records = try outcome.errors.map {
            try JSONDecoder().decode([String: String].self, from: Data($0.utf8))
        }
        let last = try #require(records.last)
        #expect(last["level"] == "error")
        #expect(last["code"] == "\(outcome.code)")
        let text = try Executable.run(arguments + ["text"])
        #expect(text.code == outcome.code)
        #expect(text.errors.last == "ipvsd: \(last["message"] ?? "")")
    }
}
