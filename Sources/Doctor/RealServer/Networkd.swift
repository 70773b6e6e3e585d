/// The configuration of systemd-networkd (systemd.network(5)).
public struct Networkd: Sendable {
    public var isRunning: Bool
    /// The files *.network in their order, by name.
    public var networks: [(path: String, text: String)]

    public init(isRunning: Bool = false, networks: [(path: String, text: String)] = []) {
        self.isRunning = isRunning
        self.networks = networks
    }

    /// Returns the file by which networkd manages the device, with its settings. Nil: there is none.
    func network(of device: String, kind: String?) -> (path: String, settings: Settings)? {
        for (path, text) in networks {
            let settings = Settings(text)
            let names = settings.values("Match", "Name").flatMap { $0.split(separator: " ").map(String.init) }
            let kinds = settings.values("Match", "Kind") + settings.values("Match", "Type")
            // Matches other than name and kind are not understood.
            let others = settings.keys(of: "Match").subtracting(["Name", "Kind", "Type"])
            guard others.isEmpty, !(names.isEmpty && kinds.isEmpty) else { continue }
            let kindMatches = kinds.isEmpty || kinds.contains { glob in kind.map { Self.matches($0, glob) } ?? false }
            if (names.isEmpty || names.contains { Self.matches(device, $0) }) && kindMatches { return (path, settings) }
        }
        return nil
    }

    /// Whether a shell pattern with `*` and `?` matches.
    static func matches(_ name: String, _ glob: String) -> Bool {
        var reachable: Set<Int> = [0]
        let characters = Array(name)
        for part in glob {
            if part == "*" {
                if let first = reachable.min() { reachable = Set(first...characters.count) }
            } else {
                reachable = Set(
                    reachable.filter { $0 < characters.count && (part == "?" || characters[$0] == part) }
                        .map { $0 + 1 })
            }
        }
        return reachable.contains(characters.count)
    }

    /// The settings in a file of systemd.
    struct Settings {
        private var entries: [(section: String, key: String, value: String)] = []

        init(_ text: String) {
            var section = ""
            for line in text.split(separator: "\n") {
                let line = line.trimmed
                if line.hasPrefix("[") { section = String(line.dropFirst().prefix { $0 != "]" }) }
                guard let sign = line.firstIndex(of: "="), !line.hasPrefix("#"), !line.hasPrefix(";") else { continue }
                entries.append((section, line[..<sign].trimmed, line[line.index(after: sign)...].trimmed))
            }
        }

        func values(_ section: String, _ key: String) -> [String] {
            entries.filter { $0.section == section && $0.key == key }.map(\.value)
        }

        func keys(of section: String) -> Set<String> { Set(entries.filter { $0.section == section }.map(\.key)) }

        static func isTrue(_ value: String) -> Bool {
            ["1", "yes", "true", "on", "y", "t"].contains(value.lowercased())
        }
    }
}

extension Substring {
    fileprivate var trimmed: String {
        let start = drop { $0 == " " || $0 == "\t" }
        return String(start.reversed().drop { $0 == " " || $0 == "\t" }.reversed())
    }
}
