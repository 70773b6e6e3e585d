/// The counters of /proc/net/snmp: two lines for each protocol, one with the names and one with the values (proc(5)).
struct ProtocolCounters {
    private var counters: [Substring: [Substring: UInt64]] = [:]

    init(_ text: [UInt8]) {
        let text = String(decoding: text, as: UTF8.self)
        var names: [Substring: [Substring]] = [:]
        for line in text.split(separator: "\n") {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let words = line[line.index(after: colon)...].split(separator: " ")
            if let names = names[line[..<colon]] {
                let values = zip(names, words).compactMap { name, value in UInt64(value).map { (name, $0) } }
                counters[line[..<colon]] = Dictionary(values, uniquingKeysWith: { first, _ in first })
            } else {
                names[line[..<colon]] = words
            }
        }
    }

    /// Nil where one of the protocols has no such counter.
    func sum(of name: Substring, in protocols: [Substring]) -> UInt64? {
        var sum: UInt64 = 0
        for counted in protocols {
            guard let count = counters[counted]?[name] else { return nil }
            sum += count
        }
        return sum
    }
}
