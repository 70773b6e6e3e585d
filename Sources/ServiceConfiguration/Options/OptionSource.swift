/// A value with its place.
struct SourceItem<Value> {
    /// The beginning of errors: a flag or a file's line and key, with the value's text.
    let place: String
    let value: Result<Value, InvalidValue>
}

extension SourceItem: Sendable where Value: Sendable {}

/// A source of option values: the command line, or a mapping of the configuration file.
protocol OptionSource {
    /// The name of a listener in errors.
    static var listenerName: String { get }

    /// Returns an option's value, or nil without one.
    func item<Value>(of option: DirectorOption<Value>) -> SourceItem<Value>?

    /// Returns a list option's values, or nil without any. It notes errors of the list itself.
    func list<Value>(of option: DirectorOption<Value>, _ findings: inout Findings) -> [SourceItem<Value>]?

    /// Returns the real servers with their own weights and thresholds, or nil without any.
    func writtenServers(_ findings: inout Findings) -> [SourceItem<WrittenServer>]?

    func has(_ option: any DeclaredOption) -> Bool

    /// Whether the mapping around the option's key is present, in any form.
    func hasMapping(around option: any DeclaredOption) -> Bool

    /// Whether the value comes from the file's defaults.
    func isInherited(_ option: any DeclaredOption) -> Bool

    /// Returns the beginning of errors about several options.
    func place(of options: any DeclaredOption...) -> String

    /// Returns the option's flag or key.
    func name(of option: any DeclaredOption) -> String

    /// Notes that a required option is missing.
    func noteMissing(_ option: any DeclaredOption, _ findings: inout Findings)
}

extension OptionSource {
    /// Returns an option's value after `validate` has accepted it, or nil without one and after an error.
    func value<Value>(
        of option: DirectorOption<Value>, _ findings: inout Findings,
        validate: (Value) throws(InvalidValue) -> Void = { _ in }
    ) -> Value? {
        guard let item = item(of: option) else { return nil }
        return findings.attempt(item.place) { () throws(InvalidValue) in
            let value = try item.value.get()
            try validate(value)
            return value
        }
    }

    /// Returns an option's value, or its default.
    func setting<Value>(of option: DirectorOption<Value>, _ findings: inout Findings) -> Value {
        let value = value(of: option, &findings)
        guard let setting = value ?? option.standard else {
            preconditionFailure("\(option.identity) has no default")
        }
        return setting
    }

    /// Sets the values of `target` that the source has. Options with `isReadByHand` are left out.
    func read<Target>(_ settings: [Setting<Target>], into target: inout Target, _ findings: inout Findings) {
        for setting in settings where !setting.isReadByHand { setting.read(self, &target, &findings) }
    }

    /// Sets `setting` if the source has the option.
    func read<Value>(_ option: DirectorOption<Value>, into setting: inout Value, _ findings: inout Findings) {
        if let value = value(of: option, &findings) { setting = value }
    }

    func read<Value>(_ option: DirectorOption<Value>, into setting: inout Value?, _ findings: inout Findings) {
        if let value = value(of: option, &findings) { setting = value }
    }

    /// Returns a list option's values without errors.
    func values<Value>(of option: DirectorOption<Value>, _ findings: inout Findings) -> [Value] {
        (list(of: option, &findings) ?? []).compactMap { item in
            findings.attempt(item.place) { () throws(InvalidValue) in try item.value.get() }
        }
    }
}

/// The place of an option's value in the configuration. The value is read and printed by it.
package struct Setting<Target>: Sendable {
    package let option: any DeclaredOption
    /// Whether other code reads the value, since several options decide it.
    let isReadByHand: Bool
    fileprivate let read: @Sendable (any OptionSource, inout Target, inout Findings) -> Void
    /// Returns the value's text, or nil without a value.
    private let text: @Sendable (Target) -> String?

    init<Value: Sendable>(
        _ option: DirectorOption<Value>, _ path: any WritableKeyPath<Target, Value> & Sendable,
        isReadByHand: Bool = false
    ) {
        self.option = option
        self.isReadByHand = isReadByHand
        text = { option.syntax.format($0[keyPath: path]) }
        read = { source, target, findings in
            if let value = source.value(of: option, &findings) { target[keyPath: path] = value }
        }
    }

    init<Value: Sendable>(
        _ option: DirectorOption<Value>, _ path: any WritableKeyPath<Target, Value?> & Sendable,
        isReadByHand: Bool = false
    ) {
        self.option = option
        self.isReadByHand = isReadByHand
        text = { $0[keyPath: path].map(option.syntax.format) }
        read = { source, target, findings in
            if let value = source.value(of: option, &findings) { target[keyPath: path] = value }
        }
    }

    /// Returns the text of the value, or nil if `other` has the same one.
    package func text(of target: Target, unlike other: Target) -> String? {
        let text = text(target)
        return text == self.text(other) ? nil : text
    }
}
