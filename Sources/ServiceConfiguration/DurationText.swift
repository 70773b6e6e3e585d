/// The texts of durations: a decimal number and a unit, such as "1s", "700ms", "0.7s" or "2m".
public enum DurationText {
    /// The range of time-outs and intervals.
    public static let accepted: ClosedRange<Duration> = .milliseconds(10) ... .seconds(3600)

    /// The units with their lengths in milliseconds. The largest unit is first, as `format` takes the first unit that
    /// divides the duration.
    private static let units = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)]

    /// Parses a duration of whole milliseconds within `range`.
    public static func parse(
        _ text: some StringProtocol, in range: ClosedRange<Duration> = accepted
    ) throws(InvalidValue) -> Duration {
        let bounds = self.text(of: range)
        let number = text.prefix { $0.isASCII && $0.isNumber || $0 == "." }
        let parts = number.split(separator: ".", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), parts.allSatisfy({ !$0.isEmpty }) else {
            throw InvalidValue("no duration", accepted: "\(bounds), as in 1s, 700ms, 0.7s, 2m")
        }
        let suffix = text[number.endIndex...]
        guard let unit = units.first(where: { suffix == $0.0 }) else {
            throw InvalidValue(
                suffix.isEmpty ? "no unit" : "unknown unit \(AddressText.quoted(suffix))",
                accepted: "\(bounds), in ms, s, m or h")
        }
        // 12 digits times an hour's milliseconds is below 2^62.
        let fraction = parts.count == 2 ? parts[1] : ""
        guard parts[0].count + fraction.count <= 12, let digits = Int(String(parts[0]) + String(fraction)) else {
            throw InvalidValue("too many digits", accepted: bounds)
        }
        let divisor = fraction.reduce(1) { power, _ in power * 10 }
        let (milliseconds, rest) = (digits * unit.1).quotientAndRemainder(dividingBy: divisor)
        guard rest == 0 else { throw InvalidValue("finer than a millisecond", accepted: bounds) }
        let duration = Duration.milliseconds(milliseconds)
        guard range.contains(duration) else { throw InvalidValue("out of range", accepted: bounds) }
        return duration
    }

    /// Returns the duration in the largest unit that needs no fraction. Parts of a millisecond are cut off.
    public static func format(_ duration: Duration) -> String {
        let total = milliseconds(duration)
        guard total != 0, let unit = units.first(where: { total.isMultiple(of: $0.1) }) else { return "\(total)ms" }
        return "\(total / unit.1)\(unit.0)"
    }

    /// Returns a range in words, such as "10ms to 1h".
    static func text(of range: ClosedRange<Duration>) -> String {
        "\(format(range.lowerBound)) to \(format(range.upperBound))"
    }

    static func milliseconds(_ duration: Duration) -> Int {
        Int(duration.components.seconds) * 1000 + Int(duration.components.attoseconds / 1_000_000_000_000_000)
    }
}
