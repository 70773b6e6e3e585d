import ServiceConfiguration
import Testing

/// The parsing and printing of durations.
struct DurationTextTests {
    @Test(
        "a duration is a decimal number with a unit",
        arguments: [
            ("10ms", 10), ("700ms", 700), ("0.7s", 700), ("0.70s", 700), ("1s", 1000), ("1.0s", 1000), ("1.5s", 1500),
            ("2m", 120_000), ("0.5m", 30_000), ("60s", 60_000), ("1h", 3_600_000), ("3600000ms", 3_600_000),
            ("007s", 7000), ("0.01s", 10), ("0.012s", 12), ("100.0ms", 100),
        ])
    func good(text: String, milliseconds: Int) throws {
        #expect(try DurationText.parse(text) == .milliseconds(milliseconds))
    }

    @Test(
        "a text that is no duration in range is refused",
        arguments: [
            ("", "no duration (accepted: 10ms to 1h, as in 1s, 700ms, 0.7s, 2m)"),
            ("s", "no duration (accepted: 10ms to 1h, as in 1s, 700ms, 0.7s, 2m)"),
            ("-1s", "no duration (accepted: 10ms to 1h, as in 1s, 700ms, 0.7s, 2m)"),
            (".5s", "no duration (accepted: 10ms to 1h, as in 1s, 700ms, 0.7s, 2m)"),
            ("1.s", "no duration (accepted: 10ms to 1h, as in 1s, 700ms, 0.7s, 2m)"),
            ("1.2.3s", "no duration (accepted: 10ms to 1h, as in 1s, 700ms, 0.7s, 2m)"),
            ("٣s", "no duration (accepted: 10ms to 1h, as in 1s, 700ms, 0.7s, 2m)"),
            ("1", "no unit (accepted: 10ms to 1h, in ms, s, m or h)"),
            ("1 s", "unknown unit ' s' (accepted: 10ms to 1h, in ms, s, m or h)"),
            ("1S", "unknown unit S (accepted: 10ms to 1h, in ms, s, m or h)"),
            ("1us", "unknown unit us (accepted: 10ms to 1h, in ms, s, m or h)"),
            ("0s", "out of range (accepted: 10ms to 1h)"),
            ("9ms", "out of range (accepted: 10ms to 1h)"),
            ("3601s", "out of range (accepted: 10ms to 1h)"),
            ("999999999999h", "out of range (accepted: 10ms to 1h)"),
            ("1000000000000h", "too many digits (accepted: 10ms to 1h)"),
            ("0.0105s", "finer than a millisecond (accepted: 10ms to 1h)"),
            ("10.5ms", "finer than a millisecond (accepted: 10ms to 1h)"),
        ])
    func bad(text: String, error: String) {
        #expect(Self.error(text) == error)
    }

    static func error(_ text: String) -> String? {
        do {
            _ = try DurationText.parse(text)
            return nil
        } catch {
            return error.description
        }
    }

    @Test("a duration can have another range")
    func otherRanges() throws {
        #expect(try DurationText.parse("1ms", in: .zero ... .seconds(1)) == .milliseconds(1))
        #expect(try DurationText.parse("0ms", in: .zero ... .seconds(1)) == .zero)
    }

    @Test(
        "a duration is printed in the largest unit without a fraction",
        arguments: [
            (0, "0ms"), (1, "1ms"), (999, "999ms"), (1000, "1s"), (1500, "1500ms"), (59000, "59s"), (60000, "1m"),
            (90000, "90s"), (3_600_000, "1h"), (5_400_000, "90m"),
        ])
    func format(milliseconds: Int, text: String) throws {
        #expect(DurationText.format(.milliseconds(milliseconds)) == text)
        #expect(try DurationText.parse(text, in: .zero ... .seconds(36000)) == .milliseconds(milliseconds))
    }

    @Test("a printed duration is parsed back")
    func everyFormattedDurationParses() throws {
        for milliseconds in stride(from: 10, through: 3_600_000, by: 37) {
            let duration = Duration.milliseconds(milliseconds)
            #expect(try DurationText.parse(DurationText.format(duration)) == duration)
        }
    }
}
