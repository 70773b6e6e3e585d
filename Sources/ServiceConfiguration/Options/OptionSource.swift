/// The value of an option in a source, or the error in it, with its place.
struct SourceItem<Value> {
    /// The beginning of errors: a flag or a file's line and key, with the value's text.
    let place: String
    let value: Result<Value, InvalidValue>
}

extension SourceItem: Sendable where Value: Sendable {}

/// A source of option values: the command line, or a mapping of the configuration file.
protocol OptionSource {
    /// The noun for a listener in errors: "service" for flags, and "listener" for the file.
    static var listenerName: String { get }

    /// Returns an option's value, or nil if the source lacks the option.
    func item<Value>(of option: DirectorOption<Value>) -> SourceItem<Value>?

    /// Returns the values of an option that accepts a list, or nil if the source has none. Notes errors of the list
    /// itself, such as an empty item.
    func list<Value>(of option: DirectorOption<Value>, _ findings: inout Findings) -> [SourceItem<Value>]?

    /// Returns the real servers with their own weights and thresholds, or nil if the source has none.
    func writtenServers(_ findings: inout Findings) -> [SourceItem<WrittenServer>]?

    func has(_ option: any DeclaredOption) -> Bool

    /// Whether the source has the mapping that can hold the option's key, as a mapping or in its short form.
    func hasMapping(around option: any DeclaredOption) -> Bool

    /// Whether the option's value comes from the file's defaults.
    func isInherited(_ option: any DeclaredOption) -> Bool

    /// Returns the beginning of an error that concerns these options.
    func place(of options: any DeclaredOption...) -> String

    /// Returns the option's flag or key.
    func name(of option: any DeclaredOption) -> String

    /// Notes that a required option is missing.
    func noteMissing(_ option: any DeclaredOption, _ findings: inout Findings)
}

extension OptionSource {
    /// Returns an option's value that `validate` accepts. Returns nil if the source lacks the option, and after noting
    /// an error.
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

    /// Returns an option's value, or the default if the source lacks the option or has a bad value. The option has to
    /// have a default.
    func setting<Value>(of option: DirectorOption<Value>, _ findings: inout Findings) -> Value {
        let value = value(of: option, &findings)
        guard let setting = value ?? option.standard else {
            preconditionFailure("\(option.identity) has no default")
        }
        return setting
    }

    /// Sets each value of `target` whose option the source has. Settings with `isReadByHand` are left out.
    func read<Target>(_ settings: [Setting<Target>], into target: inout Target, _ findings: inout Findings) {
        for setting in settings where !setting.isReadByHand { setting.read(self, &target, &findings) }
    }

    /// Sets `setting` if the source has a good value of the option.
    func read<Value>(_ option: DirectorOption<Value>, into setting: inout Value, _ findings: inout Findings) {
        if let value = value(of: option, &findings) { setting = value }
    }

    func read<Value>(_ option: DirectorOption<Value>, into setting: inout Value?, _ findings: inout Findings) {
        if let value = value(of: option, &findings) { setting = value }
    }

    /// Returns the good values of an option that accepts a list, and notes errors in the others.
    func values<Value>(of option: DirectorOption<Value>, _ findings: inout Findings) -> [Value] {
        (list(of: option, &findings) ?? []).compactMap { item in
            findings.attempt(item.place) { () throws(InvalidValue) in try item.value.get() }
        }
    }
}

/// The property of `Target` that holds an option's value. `read` sets the property, and `text(of:unlike:)` prints it.
package struct Setting<Target>: Sendable {
    package let option: any DeclaredOption
    /// Whether other code reads the option, since the value also depends on other options.
    let isReadByHand: Bool
    fileprivate let read: @Sendable (any OptionSource, inout Target, inout Findings) -> Void
    /// Returns the text of the property's value, or nil if the value is nil.
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

    /// Returns the text of the value in `target`, or nil if it is nil or the text of the value in `other` is the same.
    package func text(of target: Target, unlike other: Target) -> String? {
        let text = text(target)
        return text == self.text(other) ? nil : text
    }
}
