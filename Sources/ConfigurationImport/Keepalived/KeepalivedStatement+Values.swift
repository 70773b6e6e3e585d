internal import LoadBalancing
internal import ServiceConfiguration

/// Values of keywords, as keepalived's parser reads them. It warns of what it cannot use, and goes on with the default.
extension KeepalivedStatement {
    /// Does what `body` does with the statement. What it throws is something that keepalived ignores, and becomes a note.
    func attempt(_ body: () throws(InvalidValue) -> Void) {
        do { try body() } catch { notes.add(.note, place, "\(error): keepalived ignores it, too") }
    }

    /// The only value, or with `more` the first. Where it is missing keepalived ends.
    func value(_ accepted: String, more: Bool = false) throws(InvalidValue) -> String {
        guard let value = values.first else {
            let error = InvalidValue("\(keyword) without its value", accepted: "\(keyword) \(accepted)")
            notes.errors.add(place, error)
            throw error
        }
        if !more { endsBehind(1) }
        return value
    }

    /// Nil: keepalived goes on without it.
    func name() -> String? {
        endsBehind(1)
        if let value = values.first, !value.isEmpty { return value }
        notes.add(.note, place, "\(keyword) without its value: keepalived ignores it, too")
        return nil
    }

    /// Notes the words that are too many.
    func endsBehind(_ count: Int) {
        guard values.count > count else { return }
        notes.add(
            .note, place,
            "\(title): keepalived ignores \(AddressText.quoted(words[(count + 1)...].joined(separator: " ")))")
    }

    /// Parses a number as read_unsigned does: what stands behind its digits does not count, or with `isExact` spoils it.
    func number(in range: ClosedRange<Int>, called name: String, isExact: Bool = false) throws(InvalidValue) -> Int {
        try number(try value("N"), in: range, called: name, isExact: isExact)
    }

    func number(
        _ text: String, in range: ClosedRange<Int>, called name: String, isExact: Bool = false
    ) throws(InvalidValue) -> Int {
        var rest = text.unicodeScalars.drop(while: ASCIIText.isSpace)
        if rest.first == "+" { rest.removeFirst() }
        let digits = rest.prefix(while: ASCIIText.isDigit)
        guard let number = digits.isEmpty ? 0 : Int(String(digits)), range.contains(number), rest.first != "-",
            !isExact || !digits.isEmpty && digits.endIndex == rest.endIndex
        else {
            throw InvalidValue(
                "\(AddressText.quoted(text)) is no \(name) for \(keyword)",
                accepted: "\(range.lowerBound) to \(range.upperBound)")
        }
        if digits.isEmpty || digits.endIndex != rest.endIndex {
            notes.add(.note, place, "\(title): keepalived takes \(number)")
        }
        return number
    }

    /// Parses seconds with up to six decimals, as read_timer does; `range` is of microseconds.
    func timer(from least: Int, to most: Int = .max) throws(InvalidValue) -> Duration {
        let text = try value("SECONDS")
        let scalars = text.unicodeScalars
        let whole = scalars.prefix { $0 != "." }
        var fraction = scalars[whole.endIndex...].dropFirst()
        let roundsUp = fraction.dropFirst(6).first.map { $0 >= "5" } ?? false
        fraction = fraction.prefix(6)
        // A number that does not end has its zeros behind what ends it: 5s is five microseconds.
        let decimals = String(whole) + String(fraction) + String(repeating: "0", count: 6 - fraction.count)
        let digits = decimals.unicodeScalars.prefix(while: ASCIIText.isDigit)
        guard let micros = digits.isEmpty ? 0 : Int(String(digits)), micros < .max - 1, text.utf8.first != 45,
            (least...most).contains(micros + (roundsUp ? 1 : 0))
        else {
            throw InvalidValue(
                "\(AddressText.quoted(text)) is no timer for \(keyword)",
                accepted: "seconds, as 3 or 0.5" + (least > 0 ? ", more than 0" : ""))
        }
        if digits.endIndex != decimals.endIndex {
            notes.add(.note, place, "\(title): keepalived takes \(micros) microseconds")
        }
        return .milliseconds(micros / 1000 + (micros % 1000 >= 500 ? 1 : 0))
    }

    /// Without a value: true.
    func flag() throws(InvalidValue) -> Bool {
        endsBehind(1)
        switch values.first {
        case nil, "true", "on", "yes": return true
        case "false", "off", "no": return false
        case let text?:
            throw InvalidValue(
                "\(keyword) \(AddressText.quoted(text)): neither yes nor no",
                accepted: "true, on, yes, false, off or no")
        }
    }

    /// The block; empty where there is none.
    var statements: [KeepalivedStatement] { block ?? [] }

    /// As it was written, in one line.
    var title: String { words.joined(separator: " ") }
}
