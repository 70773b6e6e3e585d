/// A check's pace in a configuration file: a section's own, and what it inherits.
struct PaceSection {
    static let keys = ["interval", "fast-interval", "timeout", "rise", "fall"]

    private(set) var pace = CheckPace()
    /// Else it is what goes with the interval.
    private var saysFastInterval = false

    /// Where a section shortens the interval alone, an inherited time-out is shortened with it, and with any other
    /// interval goes another faster one.
    init(_ section: YAMLSection, inheriting base: PaceSection? = nil, _ findings: inout Findings) {
        if let base { self = base }
        if let value = section.duration("interval", &findings) {
            pace.interval = value
            saysFastInterval = false
        }
        if let value = Self.within(pace.interval, "fast-interval", section, &findings) {
            pace.fastInterval = value
            saysFastInterval = true
        }
        if !saysFastInterval { pace.fastInterval = CheckPace.fastInterval(for: pace.interval) }
        if section.has("timeout") {
            if let value = Self.within(pace.interval, "timeout", section, &findings) { pace.timeout = value }
        } else {
            pace.timeout = min(pace.timeout, pace.interval)
        }
        if let value = Self.count("rise", section, &findings) { pace.rise = value }
        if let value = Self.count("fall", section, &findings) { pace.fall = value }
    }

    private static func within(
        _ interval: Duration, _ key: String, _ section: YAMLSection, _ findings: inout Findings
    ) -> Duration? {
        section.value(key, &findings) { text throws(InvalidValue) in
            try CheckPace.duration(text, within: interval)
        }
    }

    private static func count(_ key: String, _ section: YAMLSection, _ findings: inout Findings) -> Int? {
        section.number(key, in: 1...100, problem: "no number of checks", &findings)
    }
}
