/// How often a check is asked and how many answers it takes to a verdict.
struct CheckPace {
    static let keys = ["interval", "fast-interval", "timeout", "rise", "fall"]

    var interval: Duration = .seconds(1)
    /// Nil: what goes with the interval.
    var fastInterval: Duration?
    var timeout: Duration = .milliseconds(700)
    var rise = 2
    var fall = 2

    /// Where a section shortens the interval alone, an inherited time-out is shortened with it, and with any other
    /// interval goes another faster one.
    init(_ section: YAMLSection, inheriting base: CheckPace? = nil, _ findings: inout Findings) {
        if let base { self = base }
        if let value = section.duration("interval", &findings) { interval = value }
        if let value = Self.within(interval, "fast-interval", section, &findings) {
            fastInterval = value
        } else if section.has("interval") {
            fastInterval = nil
        }
        if section.has("timeout") {
            if let value = Self.within(interval, "timeout", section, &findings) { timeout = value }
        } else {
            timeout = min(timeout, interval)
        }
        if let value = Self.count("rise", section, &findings) { rise = value }
        if let value = Self.count("fall", section, &findings) { fall = value }
    }

    private static func within(
        _ interval: Duration, _ key: String, _ section: YAMLSection, _ findings: inout Findings
    ) -> Duration? {
        section.value(key, &findings) { text throws(InvalidValue) in
            try CheckPolicy.duration(text, within: interval)
        }
    }

    private static func count(_ key: String, _ section: YAMLSection, _ findings: inout Findings) -> Int? {
        section.number(key, in: 1...100, problem: "no number of checks", &findings)
    }
}
