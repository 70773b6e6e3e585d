/// The values of flags; nil where there is none, or no good one, which is noted.
extension DirectorFlags {
    func value<Value>(
        _ text: String?, flag: String, _ findings: inout Findings, _ body: (String) throws(InvalidValue) -> Value
    ) -> Value? {
        text.flatMap { text in
            findings.attempt(Self.place(flag, text)) { () throws(InvalidValue) in try body(text) }
        }
    }

    /// Whole seconds, written as a duration.
    func seconds(
        _ text: String?, flag: String, in range: ClosedRange<Int>, _ findings: inout Findings
    ) -> Int? {
        value(text, flag: flag, &findings) { text throws(InvalidValue) in
            let duration = try DurationText.parse(
                text, in: .seconds(range.lowerBound) ... .seconds(range.upperBound))
            guard duration.components.attoseconds == 0 else {
                throw InvalidValue("finer than a second", accepted: "whole seconds")
            }
            return Int(duration.components.seconds)
        }
    }

    func number(
        _ text: String?, flag: String, in range: ClosedRange<Int>, problem: String, _ findings: inout Findings
    ) -> Int? {
        value(text, flag: flag, &findings) { text throws(InvalidValue) in
            try AddressText.number(text, in: range, problem: problem)
        }
    }

    func choice<Choice: CaseIterable & RawRepresentable<String>>(
        _ text: String, flag: String, name: String, _ findings: inout Findings
    ) -> Choice? {
        guard let choice = Choice(rawValue: text) else {
            findings.add(Self.place(flag, text), "unknown \(name)", accepted: AddressText.choices(of: Choice.self))
            return nil
        }
        return choice
    }

    /// The items of all of a flag's values, without the spaces around commas; a flag without any is an error.
    func items(
        of values: [String], flag: String, accepted: String, _ findings: inout Findings
    ) -> [Substring] {
        guard !values.isEmpty else {
            findings.add(flag, "missing", accepted: accepted)
            return []
        }
        var items: [Substring] = []
        for value in values {
            let parts = value.split(separator: ",", omittingEmptySubsequences: false).map(Self.trimmed)
            if parts.contains(where: \.isEmpty) {
                findings.add(Self.place(flag, value), "an item is empty", accepted: accepted)
            }
            items += parts.filter { !$0.isEmpty }
        }
        return items
    }

    private static func trimmed(_ text: Substring) -> Substring {
        let start = text.drop { $0.isWhitespace }
        guard let last = start.lastIndex(where: { !$0.isWhitespace }) else { return "" }
        return start[...last]
    }

    static func place(_ flag: String, _ value: some StringProtocol) -> String {
        "\(flag) \(AddressText.quoted(value))"
    }
}
