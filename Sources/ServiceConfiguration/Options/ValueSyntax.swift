/// The form of an option's value: how it is parsed, printed, and described to operators and editors.
public struct ValueSyntax<Value: Sendable>: Sendable {
    public let parse: @Sendable (String) throws(InvalidValue) -> Value
    /// The text that `parse` makes the same value of.
    public let format: @Sendable (Value) -> String
    /// What is accepted, for errors and manual pages.
    let accepted: String
    /// The JSON Schema of one value, as an editor's YAML parser reads it.
    let schema: JSONValue
    /// What is accepted where a list or mapping stands instead of a value.
    let single: String

    init(
        accepted: String, schema: JSONValue, single: String = "one value",
        format: @escaping @Sendable (Value) -> String,
        parse: @escaping @Sendable (String) throws(InvalidValue) -> Value
    ) {
        self.parse = parse
        self.format = format
        self.accepted = accepted
        self.schema = schema
        self.single = single
    }

    /// A value whose description is its text.
    init(
        accepted: String, schema: JSONValue, single: String = "one value",
        parse: @escaping @Sendable (String) throws(InvalidValue) -> Value
    ) {
        self.init(accepted: accepted, schema: schema, single: single, format: { "\($0)" }, parse: parse)
    }
}

extension ValueSyntax where Value == String {
    static var text: ValueSyntax<String> {
        ValueSyntax(accepted: "text", schema: .scalar) { text throws(InvalidValue) in text }
    }

    static var interface: ValueSyntax<String> {
        ValueSyntax(accepted: InterfaceName.accepted, schema: .scalar) {
            text throws(InvalidValue) in
            try InterfaceName.validate(text)
            return text
        }
    }
}

extension ValueSyntax where Value == Bool {
    /// YAML 1.1's words, which other programs' files have.
    static var flag: ValueSyntax<Bool> {
        ValueSyntax(
            accepted: "true or false",
            schema: ["enum": .array([.bool(true), .bool(false)] + ["yes", "no", "on", "off"].map(JSONValue.string))]
        ) { text throws(InvalidValue) in
            switch text.lowercased() {
            case "true", "yes", "on": true
            case "false", "no", "off": false
            default: throw InvalidValue("neither yes nor no", accepted: "true or false")
            }
        }
    }
}

extension ValueSyntax where Value == Int {
    /// Decimal digits; `problem` says what a text is not.
    static func number(
        in range: ClosedRange<Int>, problem: @escaping @Sendable (_ text: String) -> String
    ) -> ValueSyntax {
        ValueSyntax(
            accepted: "\(range.lowerBound) to \(range.upperBound)",
            schema: ["type": "integer", "minimum": .number(range.lowerBound), "maximum": .number(range.upperBound)]
        ) { text throws(InvalidValue) in
            try AddressText.number(text, in: range, problem: problem(text))
        }
    }

    static func number(in range: ClosedRange<Int>, problem: String) -> ValueSyntax {
        number(in: range) { _ in problem }
    }

    /// Whole seconds, written as a duration.
    static func seconds(in range: ClosedRange<Int>) -> ValueSyntax {
        let durations: ClosedRange<Duration> = .seconds(range.lowerBound) ... .seconds(range.upperBound)
        return ValueSyntax(
            accepted: DurationText.text(of: durations), schema: .duration,
            format: { DurationText.format(.seconds($0)) }
        ) { text throws(InvalidValue) in
            let duration = try DurationText.parse(text, in: durations)
            guard duration.components.attoseconds == 0 else {
                throw InvalidValue("finer than a second", accepted: "whole seconds")
            }
            return Int(duration.components.seconds)
        }
    }
}

extension ValueSyntax where Value == Duration {
    static var duration: ValueSyntax<Duration> {
        ValueSyntax(
            accepted: DurationText.text(of: DurationText.accepted), schema: .duration, format: DurationText.format
        ) { text throws(InvalidValue) in try DurationText.parse(text) }
    }
}

extension ValueSyntax where Value == Duration? {
    /// A duration of policies; nil: off.
    static var durationOrOff: ValueSyntax<Duration?> {
        ValueSyntax(
            accepted: "\(DurationText.text(of: PolicyText.durations)), or off",
            // YAML 1.1 reads "off" as false.
            schema: ["anyOf": .array([.duration, ["enum": .array(["off", .bool(false)])]])],
            format: { $0.map(DurationText.format) ?? "off" }
        ) { text throws(InvalidValue) in
            try PolicyText.duration(text)
        }
    }
}

extension ValueSyntax where Value: CaseIterable & RawRepresentable<String> {
    /// One of a type's names; `name` is what errors call one.
    static func choice(called name: String) -> ValueSyntax {
        let names = Value.allCases.map(\.rawValue)
        // An editor's YAML parser reads "1.1" without quotes as a number.
        let values = names.flatMap { name in [.string(name)] + (Double(name).map { [JSONValue.decimal($0)] } ?? []) }
        return ValueSyntax(
            accepted: names.joined(separator: ", "), schema: ["enum": .array(values)], format: \.rawValue
        ) { text throws(InvalidValue) in
            guard let value = Value(rawValue: text) else {
                throw InvalidValue("unknown \(name)", accepted: AddressText.choices(of: Value.self))
            }
            return value
        }
    }
}

extension JSONValue {
    /// A text, which may look like a number or a truth value.
    static let scalar: JSONValue = ["type": .array(["string", "number", "boolean"])]

    static let duration: JSONValue = ["type": "string", "pattern": #"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"#]

    static func text(matching pattern: String) -> JSONValue { ["type": "string", "pattern": .string(pattern)] }

    static let address: JSONValue = .text(matching: #"^[0-9]+(\.[0-9]+){3}$"#)
}
