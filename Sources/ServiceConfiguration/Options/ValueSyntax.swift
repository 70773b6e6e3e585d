/// The form of an option's value: its parser, its text, and its description for operators and editors.
public struct ValueSyntax<Value: Sendable>: Sendable {
    public let parse: @Sendable (String) throws(InvalidValue) -> Value
    /// Returns a text that `parse` turns into the same value.
    public let format: @Sendable (Value) -> String
    /// The accepted values, for errors and manual pages.
    let accepted: String
    /// The JSON Schema of one value in the form in which an editor's YAML parser reads the value.
    let schema: JSONValue
    /// The accepted form, for the error about a list or mapping where one value is expected.
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

    /// Makes the form of a value whose `description` is its text.
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
    /// A truth value. The words of YAML 1.1, such as "yes" and "off", are accepted in any letter case.
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
    /// A number of `range` in decimal digits. `problem` returns the text of the error for any other text.
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

    /// A number of seconds, written as a duration.
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
    /// A duration of `PolicyText.durations`, or nil for "off".
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
    /// A case of an enumeration by its raw value. `name` is the noun for the value in errors.
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
    /// The schema of a text. An editor's YAML parser may read the text as a number or a truth value.
    static let scalar: JSONValue = ["type": .array(["string", "number", "boolean"])]

    static let duration: JSONValue = ["type": "string", "pattern": #"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"#]

    static func text(matching pattern: String) -> JSONValue { ["type": "string", "pattern": .string(pattern)] }

    static let address: JSONValue = .text(matching: #"^[0-9]+(\.[0-9]+){3}$"#)
}
