internal import LoadBalancing

/// An option on the command line, with its text and value.
public struct Given<Value: Sendable>: GivenOption {
    let option: DirectorOption<Value>
    let text: String
    /// The values with their places. An option that is not a list has exactly one.
    let items: [SourceItem<Value>]
    private let hasEmptyItem: Bool

    public init(_ option: DirectorOption<Value>, _ text: String) {
        func item(_ text: some StringProtocol) -> SourceItem<Value> {
            SourceItem(
                place: Self.place(option, text),
                value: Result { () throws(InvalidValue) in try option.syntax.parse(String(text)) })
        }
        self.option = option
        self.text = text
        guard option.flag?.repeats == true else {
            items = [item(text)]
            hasEmptyItem = false
            return
        }
        let parts = text.split(separator: ",", omittingEmptySubsequences: false).map(Self.trimmed)
        items = parts.filter { !$0.isEmpty }.map(item)
        hasEmptyItem = parts.contains(where: \.isEmpty)
    }

    public var declaration: any DeclaredOption { option }

    /// The flag with its text, in quotes if the text is empty or has white space.
    public var place: String { Self.place(option, text) }

    func noteEmptyItem(_ findings: inout Findings) {
        if hasEmptyItem { findings.add(place, "an item is empty", accepted: option.accepted) }
    }

    private static func place(_ option: DirectorOption<Value>, _ text: some StringProtocol) -> String {
        "\(option.flagName) \(AddressText.quoted(text))"
    }

    private static func trimmed(_ text: Substring) -> Substring {
        let start = text.drop { $0.isWhitespace }
        guard let last = start.lastIndex(where: { !$0.isWhitespace }) else { return "" }
        return start[...last]
    }
}

/// A `Given` or a `GivenPresence`, for code that does not know the value's type.
public protocol GivenOption: Sendable {
    var declaration: any DeclaredOption { get }
    /// The beginning of errors about the option.
    var place: String { get }
}

/// A flag without a value on the command line.
public struct GivenPresence: GivenOption {
    let option: DirectorOption<Bool>

    public init(_ option: DirectorOption<Bool>) { self.option = option }

    /// Makes the flag with this name. The name is without dashes, and has to be that of a declared flag without a
    /// value.
    public init(flag name: String) {
        guard let option = Options.flags.first(where: { $0.flag?.name == name }) as? DirectorOption<Bool> else {
            preconditionFailure("no flag --\(name) without a value is declared")
        }
        self.init(option)
    }

    public var declaration: any DeclaredOption { option }

    public var place: String { option.flagName }
}

/// The flags of the director's command line, which make a configuration.
public struct DirectorFlags: Sendable {
    private var given: [String: [any GivenOption]] = [:]

    public init(_ given: [any GivenOption] = []) {
        for option in given { self.given[option.declaration.identity, default: []].append(option) }
    }

    /// The names of the flags on the command line, in the order of `--help`'s groups.
    public var names: [String] { Options.flags.filter(has).map(\.flagName) }

    /// Makes the configuration. `files` tests the programs and files that flags name.
    public func configuration(files: NamedFiles = .unseen) throws(ConfigurationErrors) -> DirectorConfiguration {
        var findings = Findings(files: files)
        let (listeners, areAllValid) = listeners(&findings)
        let addresses = findings.unique(listeners, Self.listenerName)
        let vips = Set(addresses.map(\.vip))
        let service = service(listeners: addresses, areAllValid: areAllValid, apartFrom: vips, &findings)
        var configuration = DirectorConfiguration()
        readSettings(into: &configuration, &findings)
        let kind = checkKind(listeners: addresses, &findings)
        let pace = CheckPaceReading(self, &findings).pace
        let notification = notification(&findings)
        let policy = policy(of: service, apartFrom: vips, &findings)
        guard findings.errors.isEmpty, let service, let kind else { throw ConfigurationErrors(findings.errors) }
        let isOne = value(of: Options.oneService, &findings) ?? false
        let groups = isOne ? [addresses] : addresses.map { [$0] }
        for group in groups {
            var service = service
            service.address = group[0]
            service.otherAddresses = Array(group.dropFirst())
            configuration.services.append(
                ConfiguredService(
                    service, checks: .policy(CheckPolicy(kind: kind, pace: pace)), policy: policy,
                    notification: notification))
        }
        findings.validateOuterSources(of: configuration, place: place(of: Options.outerSources))
        findings.validateSize(of: configuration) { _ in Options.servers.flagName }
        guard findings.errors.isEmpty else { throw ConfigurationErrors(findings.errors) }
        return configuration
    }
}

extension DirectorFlags: OptionSource {
    static var listenerName: String { "service" }

    /// Returns the option's value where the flag stands last, as a later flag replaces an earlier one.
    func item<Value>(of option: DirectorOption<Value>) -> SourceItem<Value>? {
        switch given[option.identity]?.last {
        case let typed as Given<Value>: typed.items.first
        case is GivenPresence:
            (option.flag?.presence as? Value).map { SourceItem(place: option.flagName, value: .success($0)) }
        default: nil
        }
    }

    func list<Value>(of option: DirectorOption<Value>, _ findings: inout Findings) -> [SourceItem<Value>]? {
        guard let typed = given[option.identity] as? [Given<Value>] else { return nil }
        for given in typed { given.noteEmptyItem(&findings) }
        return typed.flatMap(\.items)
    }

    func writtenServers(_ findings: inout Findings) -> [SourceItem<WrittenServer>]? {
        list(of: Options.servers, &findings)
    }

    func has(_ option: any DeclaredOption) -> Bool { given[option.identity] != nil }

    func hasMapping(around option: any DeclaredOption) -> Bool { false }

    func isInherited(_ option: any DeclaredOption) -> Bool { false }

    func place(of options: any DeclaredOption...) -> String {
        options.compactMap { given[$0.identity]?.last?.place }.joined(separator: " ")
    }

    func name(of option: any DeclaredOption) -> String { option.flagName }

    func noteMissing(_ option: any DeclaredOption, _ findings: inout Findings) {
        findings.add(option.flagName, "missing", accepted: option.accepted)
    }
}
