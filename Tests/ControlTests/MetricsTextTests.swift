import HealthChecks
import Testing

@testable import Control

/// The exposition format, by the rules of its document.
struct MetricsTextTests {
    @Test("a family has HELP, TYPE and its samples, with escapes")
    func familiesAndSamples() {
        var text = MetricsText()
        text.begin("a_total", .counter, "A \\ and\na line.")
        text.add(UInt64.max)
        text.begin("b", .gauge, "B.")
        text.add([("x", "a\"b\\c\nd"), ("y", "é")], 2)
        text.add(0.25)
        #expect(
            text.text == """
                # HELP a_total A \\\\ and\\na line.
                # TYPE a_total counter
                a_total 18446744073709551615
                # HELP b B.
                # TYPE b gauge
                b{x="a\\"b\\\\c\\nd",y="é"} 2
                b 0.25

                """)
    }

    @Test("the buckets of a histogram are cumulative")
    func histogramsAddUp() {
        var statistics = CheckStatistics()
        let times: [Duration] = [.microseconds(100), .microseconds(500), .milliseconds(3), .seconds(1), .seconds(100)]
        for (index, time) in times.enumerated() { statistics.record(isSuccess: index < 3, latency: time) }
        #expect(statistics.succeeded == 3)
        #expect(statistics.failed == 2)
        #expect(statistics.count == 5)
        let twice = statistics.joined(with: statistics)
        #expect(twice.count == 10)
        #expect(twice.failed == 4)
        #expect(twice.counts.reduce(0, +) == 10)
        #expect(twice.seconds == 2 * statistics.seconds)
        var text = MetricsText()
        text.begin("h", .histogram, "H.")
        text.add([("c", "x")], bounds: CheckStatistics.bounds, counts: statistics.counts, sum: statistics.seconds)
        let lines = text.text.split(separator: "\n")
        #expect(lines.contains("h_bucket{c=\"x\",le=\"0.0005\"} 2"))
        #expect(lines.contains("h_bucket{c=\"x\",le=\"0.005\"} 3"))
        #expect(lines.contains("h_bucket{c=\"x\",le=\"1\"} 4"))
        #expect(lines.contains("h_bucket{c=\"x\",le=\"10\"} 4"))
        #expect(lines.contains("h_bucket{c=\"x\",le=\"+Inf\"} 5"))
        #expect(lines.contains("h_count{c=\"x\"} 5"))
        #expect(lines.contains { $0.hasPrefix("h_sum{c=\"x\"} 101.003") })
    }

    @Test(
        "a number is written as Prometheus reads it",
        arguments: [
            (0.0, "0"), (1, "1"), (-2.5, "-2.5"), (1e300, "1e+300"), (.infinity, "+Inf"), (-.infinity, "-Inf"),
            (.nan, "NaN"), (1_700_000_000.25, "1700000000.25"),
        ])
    func numbers(value: Double, text: String) {
        #expect(MetricsText.number(value) == text)
    }
}
