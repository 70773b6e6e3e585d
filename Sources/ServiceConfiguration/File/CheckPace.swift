/// How often a check is asked and how many answers it takes to a verdict.
struct CheckPace {
    static let keys = ["interval", "timeout", "rise", "fall"]

    var interval: Duration = .seconds(1)
    var timeout: Duration = .milliseconds(700)
    var rise = 2
    var fall = 2

    /// Where a section shortens the interval alone, an inherited time-out is shortened with it.
    init(_ section: YAMLSection, inheriting base: CheckPace? = nil, _ findings: inout Findings) {
        if let base { self = base }
        if let value = section.duration("interval", &findings) { interval = value }
        if let item = section["timeout"] {
            let limit = interval
            let value = item.value(&findings) { text throws(InvalidValue) in
                let timeout = try DurationText.parse(text)
                guard timeout <= limit else {
                    let shortest = DurationText.format(DurationText.accepted.lowerBound)
                    throw InvalidValue(
                        "longer than the check interval",
                        accepted: "\(shortest) to the interval, \(DurationText.format(limit))")
                }
                return timeout
            }
            if let value { timeout = value }
        } else {
            timeout = min(timeout, interval)
        }
        if let value = Self.count("rise", section, &findings) { rise = value }
        if let value = Self.count("fall", section, &findings) { fall = value }
    }

    private static func count(_ key: String, _ section: YAMLSection, _ findings: inout Findings) -> Int? {
        section.number(key, in: 1...100, problem: "no number of checks", &findings)
    }
}
