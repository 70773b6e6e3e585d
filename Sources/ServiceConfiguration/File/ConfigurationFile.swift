internal import Glibc
internal import LoadBalancing
internal import Yams

/// The configuration file, in YAML. Unlike flags, the file can have checks of every type, and services that differ.
public enum ConfigurationFile {
    /// The largest size of a file in bytes. A file of 4,096 services is far smaller.
    private static let longest = 64 << 20

    /// Reads a file, or standard input for "-". Tests the programs and files that the configuration names.
    public static func read(_ path: String) throws(ConfigurationErrors) -> DirectorConfiguration {
        try parse(try text(of: path), file: path, files: .present)
    }

    private static func text(of path: String) throws(ConfigurationErrors) -> String {
        guard let text = String(validating: try bytes(of: path), as: UTF8.self) else {
            throw refusal(path, "not UTF-8")
        }
        return text
    }

    /// Returns the bytes of a file, or of standard input for "-".
    package static func bytes(of path: String) throws(ConfigurationErrors) -> [UInt8] {
        guard let file = path == "-" ? fdopen(dup(STDIN_FILENO), "r") : fopen(path, "re") else {
            throw refusal(path, String(cString: strerror(errno)))
        }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while bytes.count <= longest {
            let count = fread(&chunk, 1, chunk.count, file)
            if count == 0 { break }
            bytes += chunk[..<count]
        }
        if ferror(file) != 0 { throw refusal(path, String(cString: strerror(errno))) }
        guard bytes.count <= longest else { throw refusal(path, "longer than \(longest >> 20) MiB") }
        return bytes
    }

    private static func refusal(_ path: String, _ problem: String) -> ConfigurationErrors {
        ConfigurationErrors([ConfigurationError(place: path, problem: problem, accepted: "a file of text")])
    }

    /// Parses a file's text. Errors name the file by `file`. `files` tests the programs and files that the text names.
    public static func parse(
        _ text: String, file: String, files: NamedFiles = .unseen
    ) throws(ConfigurationErrors) -> DirectorConfiguration {
        let root: Node?
        let second: Node?
        do {
            let parser = try Parser(yaml: text)
            root = try parser.nextRoot()
            second = try parser.nextRoot()
        } catch {
            throw ConfigurationErrors([syntaxError(error, file: file)])
        }
        var findings = Findings(files: files)
        if let second {
            findings.add(
                YAMLItem.place("the file", line: second.mark?.line, file: file), "a second document begins here",
                accepted: "one, without --- between its lines")
        }
        let start = YAMLItem.place("the file", line: 1, file: file)
        guard let root else {
            findings.add(start, "it is empty", accepted: Options.keys(of: .file).joined(separator: ", "))
            throw ConfigurationErrors(findings.errors)
        }
        let configuration = YAMLSection(root, .file, place: start, file: file, &findings)
            .flatMap { self.configuration($0, &findings) }
        guard findings.errors.isEmpty, let configuration else {
            throw ConfigurationErrors(sorted(findings.errors, file: file))
        }
        return configuration
    }

    private static func configuration(
        _ top: YAMLSection, _ findings: inout Findings
    ) -> DirectorConfiguration? {
        var configuration = DirectorConfiguration()
        top.readSettings(into: &configuration, &findings)
        let defaults = top.mapping(Options.defaults, &findings)
        let pace = defaults.map { CheckPaceReading($0, &findings) }
        if let defaults { ServiceSection.validate(defaults: defaults, &findings) }
        addServices(top, defaults: defaults, pace: pace, to: &configuration, &findings)
        findings.validateOuterSources(of: configuration, place: top.place(of: Options.outerSources))
        return configuration.services.isEmpty ? nil : configuration
    }

    private static func addServices(
        _ top: YAMLSection, defaults: YAMLSection?, pace: CheckPaceReading?,
        to configuration: inout DirectorConfiguration, _ findings: inout Findings
    ) {
        let key = Options.serviceList.keyName
        let place = top[Options.serviceList]?.place ?? top.place
        guard let items = top.items(of: Options.serviceList), !items.isEmpty else {
            findings.add(place, "there are no \(key)", accepted: "\(key): with one at least")
            return
        }
        let sections = items.compactMap { item in
            YAMLSection(item.node, .service, place: item.place, file: top.file, &findings).map {
                ServiceSection($0, defaults: defaults, pace: pace, &findings)
            }
        }
        let vips = Set(sections.flatMap { $0.listeners.compactMap { try? $0.value.get().vip } })
        var taken: Set<ServiceAddress> = []
        var places: [ServiceAddress: String] = [:]
        for section in sections {
            _ = findings.unique(section.listeners, YAMLSection.listenerName, taken: &taken)
            guard let (service, placeOfServers) = section.service(vips: vips, &findings) else { continue }
            configuration.services.append(service)
            section.note(&configuration.places, sorryServer: service.policy.sorryServer)
            places[service.address] = placeOfServers
        }
        findings.validateSize(of: configuration) { service in service.flatMap { places[$0.address] } ?? place }
    }

    private static func syntaxError(_ error: any Error, file: String) -> ConfigurationError {
        func at(_ line: Int, _ problem: String) -> ConfigurationError {
            ConfigurationError(place: "\(file):\(line)", problem: problem, accepted: "YAML")
        }
        return switch error as? YamlError {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            at(mark.line, problem)
        case .duplicatedKeysInMapping(let keys, let context):
            ConfigurationError(
                place: YAMLItem.place(keys.joined(separator: ", "), line: context.mark.line, file: file),
                problem: "given twice in one mapping", accepted: "each key once")
        case .reader(let problem, _, _, _): at(1, problem)
        default: at(1, "\(error)")
        }
    }

    /// Returns the errors by line, each once, as every service repeats the errors of the defaults.
    private static func sorted(_ errors: [ConfigurationError], file: String) -> [ConfigurationError] {
        func line(_ error: ConfigurationError) -> Int {
            Int(error.place.dropFirst(file.count + 1).prefix { $0 != ":" }) ?? 0
        }
        var seen: Set<ConfigurationError> = []
        return errors.filter { seen.insert($0).inserted }.enumerated()
            .sorted { (line($0.element), $0.offset) < (line($1.element), $1.offset) }.map(\.element)
    }
}
