/// A text in Prometheus's exposition format, version 0.0.4: families of samples, each with its HELP and TYPE.
/// https://prometheus.io/docs/instrumenting/exposition_formats/
struct MetricsText {
    enum Kind: String { case counter, gauge, histogram }

    static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    typealias Labels = [(name: String, value: String)]

    private(set) var text = ""
    private var family = ""
    private var names: Set<String> = []

    /// Begins a family of samples. A second family of the same name is a programming error.
    mutating func begin(_ name: String, _ kind: Kind, _ help: String) {
        precondition(names.insert(name).inserted, "\(name) is given twice")
        family = name
        text += "# HELP \(name) \(Self.escaped(help, quotes: false))\n# TYPE \(name) \(kind.rawValue)\n"
    }

    mutating func add(_ labels: Labels, _ value: some BinaryInteger) { line("", labels, "\(value)") }

    mutating func add(_ value: some BinaryInteger) { add([], value) }

    mutating func add(_ labels: Labels, _ value: Double) { line("", labels, Self.number(value)) }

    mutating func add(_ value: Double) { line("", [], Self.number(value)) }

    /// Adds a histogram. The counts are not cumulative. The last count is that of values above all bounds.
    mutating func add(_ labels: Labels, bounds: [Double], counts: [UInt64], sum: Double) {
        precondition(counts.count == bounds.count + 1)
        var total: UInt64 = 0
        for (bound, count) in zip(bounds + [.infinity], counts) {
            total += count
            line("_bucket", labels + [("le", Self.number(bound))], "\(total)")
        }
        line("_sum", labels, Self.number(sum))
        line("_count", labels, "\(total)")
    }

    private mutating func line(_ suffix: String, _ labels: Labels, _ value: String) {
        text += family
        text += suffix
        if !labels.isEmpty {
            text += "{"
            for (index, label) in labels.enumerated() {
                if index > 0 { text += "," }
                text += "\(label.name)=\"\(Self.escaped(label.value, quotes: true))\""
            }
            text += "}"
        }
        text += " \(value)\n"
    }

    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        return value == value.rounded() && abs(value) < 1e15 ? "\(Int64(value))" : "\(value)"
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        var result = ""
        for character in text.unicodeScalars {
            switch character {
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\"" where quotes: result += "\\\""
            default: result.unicodeScalars.append(character)
            }
        }
        return result
    }
}
