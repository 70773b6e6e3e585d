internal import LoadBalancing

/// Values of keywords. What keepalived warns of and ignores is an error here: nobody means it.
extension KeepalivedStatement {
    /// The only one, or with `more` the first.
    func value(_ accepted: String, more: Bool = false) throws(InvalidValue) -> String {
        guard let value = values.first, !value.isEmpty else {
            throw InvalidValue("\(keyword) without its value", accepted: "\(keyword) \(accepted)")
        }
        if !more { try endsBehind(1) }
        return value
    }

    /// Further words would be lost.
    func endsBehind(_ count: Int) throws(InvalidValue) {
        guard values.count <= count else {
            throw InvalidValue(
                "\(keyword): unexpected \(AddressText.quoted(words[count + 1]))",
                accepted: count == 1 ? "one value" : "\(count) values at most")
        }
    }

    func number(in range: ClosedRange<Int>, called name: String) throws(InvalidValue) -> Int {
        try ImportNumbers.number(try value("N"), in: range, called: "\(name) for \(keyword)")
    }

    /// Seconds with up to six decimals, down to a millisecond; longer than 31 days is no timer.
    func timer() throws(InvalidValue) -> Duration {
        let text = try value("SECONDS")
        let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        let fraction = parts.count > 1 ? parts[1] : ""
        let accepted = "seconds, as 3 or 0.5"
        guard (0...6).contains(fraction.utf8.count), fraction.utf8.allSatisfy({ (48...57).contains($0) }),
            let seconds = try? ImportNumbers.seconds(parts[0].isEmpty ? "0" : parts[0]), text != ".", !text.isEmpty
        else { throw InvalidValue("\(AddressText.quoted(text)) is no timer for \(keyword)", accepted: accepted) }
        let micros = Int(fraction.padded(to: 6)) ?? 0
        return .seconds(seconds) + .milliseconds((micros + 500) / 1000)
    }

    /// Without a value: true.
    func flag() throws(InvalidValue) -> Bool {
        try endsBehind(1)
        switch values.first {
        case nil, "true", "on", "yes": return true
        case "false", "off", "no": return false
        case let text?:
            throw InvalidValue(
                "\(keyword) \(AddressText.quoted(text)): neither yes nor no",
                accepted: "true, on, yes, false, off or no")
        }
    }

    /// The block, which has to be there.
    func statements() throws(InvalidValue) -> [KeepalivedStatement] {
        guard let block else { throw InvalidValue("\(keyword) without its block", accepted: "{ … } behind it") }
        return block
    }

    /// As it was written, in one line.
    var title: String { words.joined(separator: " ") }
}

extension Substring {
    fileprivate func padded(to length: Int) -> String {
        String(self) + String(repeating: "0", count: Swift.max(0, length - utf8.count))
    }
}
