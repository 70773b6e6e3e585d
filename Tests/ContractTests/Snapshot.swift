import FoundationEssentials
import Testing

/// A file of Snapshots: lines on which scripts, configuration files, dashboards and runbooks of users rely.
enum Snapshot {
    private static let variable = "IPVSD_RECORD_SNAPSHOTS"

    /// Expects the lines to be those of the file. With the environment variable the file is rewritten.
    static func expect(
        _ lines: [String], in name: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let path = sibling("Snapshots/\(name)")
        let recorded = (try? String(contentsOfFile: path, encoding: .utf8)).map { text in
            text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
        }
        guard recorded != lines else { return }
        let difference = differences(from: recorded ?? [], to: lines).joined(separator: "\n")
        let isRecording = ProcessInfo.processInfo.environment[variable] == "1"
        if isRecording {
            try (lines.joined(separator: "\n") + "\n").write(toFile: path, atomically: true, encoding: .utf8)
        }
        let advice =
            isRecording
            ? "The file has been rewritten. The next run without \(variable) has to pass."
            : """
            Users rely on these lines. An intended change is recorded by
              \(variable)=1 swift test --disable-xctest --filter ContractTests
            A line that changes or goes away has to be named in Sources/ipvsd/ipvsd.docc/Changelog.md.
            """
        Issue.record("Snapshots/\(name) differs:\n\(difference)\n\(advice)", sourceLocation: sourceLocation)
    }

    /// The text of a file of Fixtures.
    static func fixture(_ name: String) throws -> String {
        try String(contentsOfFile: sibling("Fixtures/\(name)"), encoding: .utf8)
    }

    /// The path of a file beside this one, in the checkout.
    static func sibling(_ name: String, of file: String = #filePath) -> String {
        file.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/") + "/" + name
    }

    /// The lines that went and came, as in a diff without context.
    private static func differences(from old: [String], to new: [String]) -> [String] {
        var removed: [Int: String] = [:]
        var inserted: [Int: String] = [:]
        for change in new.difference(from: old) {
            switch change {
            case .remove(let offset, let line, _): removed[offset] = line
            case .insert(let offset, let line, _): inserted[offset] = line
            }
        }
        var lines: [String] = []
        var (from, to) = (0, 0)
        while from < old.count || to < new.count {
            if let line = removed[from] {
                lines.append("- \(line)")
                from += 1
            } else if let line = inserted[to] {
                lines.append("+ \(line)")
                to += 1
            } else {
                from += 1
                to += 1
            }
        }
        return lines
    }
}
