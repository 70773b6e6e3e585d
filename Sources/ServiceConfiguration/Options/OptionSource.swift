/// A value where it was written.
struct SourceItem<Value> {
    /// The beginning of errors: a flag with its text, or a file's line with a key and its text.
    let place: String
    let value: Result<Value, InvalidValue>
}

extension SourceItem: Sendable where Value: Sendable {}

/// Values of options as operators write them: on the command line, or in a mapping of the configuration file.
protocol OptionSource {
    /// The name of a listener in errors.
    static var listenerName: String { get }

    /// Returns an option's value; nil where there is none.
    func item<Value>(of option: DirectorOption<Value>) -> SourceItem<Value>?

    /// Returns a list option's values; nil where there is none. What is wrong with the list itself is noted.
    func list<Value>(of option: DirectorOption<Value>, _ findings: inout Findings) -> [SourceItem<Value>]?

    /// Returns the real servers, with what each says of itself; nil where there are none.
    func writtenServers(_ findings: inout Findings) -> [SourceItem<WrittenServer>]?

    func has(_ option: any DeclaredOption) -> Bool

    /// Whether the mapping that has the option's key is there, in any form.
    func hasMapping(around option: any DeclaredOption) -> Bool

    /// Whether the value is that of the file's defaults.
    func isInherited(_ option: any DeclaredOption) -> Bool

    /// Returns the beginning of errors about values of several options together.
    func place(of options: any DeclaredOption...) -> String

    /// Returns the option's name: its flag, or its key.
    func name(of option: any DeclaredOption) -> String

    /// Notes that an option is needed.
    func noteMissing(_ option: any DeclaredOption, _ findings: inout Findings)
}

extension OptionSource {
    /// Returns an option's value after `judge` has found nothing against it; nil where there is none, or after an error.
    func value<Value>(
        of option: DirectorOption<Value>, _ findings: inout Findings,
        judge: (Value) throws(InvalidValue) -> Void = { _ in }
    ) -> Value? {
        guard let item = item(of: option) else { return nil }
        return findings.attempt(item.place) { () throws(InvalidValue) in
            let value = try item.value.get()
            try judge(value)
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

    /// Replaces the values of `target` that have options, save for those that are read by hand.
    func read<Target>(_ settings: [Setting<Target>], into target: inout Target, _ findings: inout Findings) {
        for setting in settings where !setting.isReadByHand { setting.read(self, &target, &findings) }
    }

    /// Replaces `setting` where the option has a value.
    func read<Value>(_ option: DirectorOption<Value>, into setting: inout Value, _ findings: inout Findings) {
        if let value = value(of: option, &findings) { setting = value }
    }

    func read<Value>(_ option: DirectorOption<Value>, into setting: inout Value?, _ findings: inout Findings) {
        if let value = value(of: option, &findings) { setting = value }
    }

    /// Returns a list option's good values.
    func values<Value>(of option: DirectorOption<Value>, _ findings: inout Findings) -> [Value] {
        (list(of: option, &findings) ?? []).compactMap { item in
            findings.attempt(item.place) { () throws(InvalidValue) in try item.value.get() }
        }
    }
}

/// The place of an option's value in the configuration, by which the value is read and printed.
package struct Setting<Target>: Sendable {
    package let option: any DeclaredOption
    /// Whether the value is read by hand, since it is judged together with others.
    let isReadByHand: Bool
    fileprivate let read: @Sendable (any OptionSource, inout Target, inout Findings) -> Void
    /// Returns the value's text; nil where there is no value.
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

    /// Returns the text of the target's value; nil where it is the text of the other's, too.
    package func text(of target: Target, unlike other: Target) -> String? {
        let text = text(target)
        return text == self.text(other) ? nil : text
    }
}
