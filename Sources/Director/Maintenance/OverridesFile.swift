internal import FoundationEssentials
internal import Glibc
internal import HostState
internal import SystemCalls

/// The file with the drains of operators. It is replaced as a whole, and absent where there are no drains.
struct OverridesFile {
    let path: String

    /// The error of a file that cannot be read or decoded.
    struct Damage: Error, CustomStringConvertible { let description: String }

    /// Reads the drains. A missing file has none.
    func read() throws(Damage) -> Overrides {
        guard File.exists(path) else { return Overrides() }
        do {
            let decoder = JSONDecoder()
            decoder.dateDecodingStrategy = .iso8601
            return try decoder.decode(Overrides.self, from: Data(try File.read(path)))
        } catch {
            throw Damage(description: "read overrides \(path): \(Self.explain(error))")
        }
    }

    /// Reads the drains for a director that starts. A damaged file must not prevent the start: it is renamed, and
    /// counts as empty. `problem` is the error, or nil where the file is good.
    func takeOver() -> (overrides: Overrides, problem: String?) {
        do { return (try read(), nil) } catch {
            let aside = "\(path).damaged"
            let kept = rename(path, aside) == 0 ? "it is kept as \(aside)" : "it stays where it is"
            return (Overrides(), "\(error); \(kept). No real server is drained now: repeat the drains that are needed")
        }
    }

    /// Writes the drains, and returns when the disk has them.
    func write(_ overrides: Overrides) throws {
        guard !overrides.isEmpty else { return try File.remove(path) }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        encoder.dateEncodingStrategy = .iso8601
        try File.makeDirectory(File.parent(of: path))
        try File.replace(path, with: Array(try encoder.encode(overrides)) + [10])
    }

    private static func explain(_ error: any Error) -> String {
        switch error as? DecodingError {
        case .dataCorrupted(let context), .keyNotFound(_, let context), .typeMismatch(_, let context),
            .valueNotFound(_, let context):
            let place = context.codingPath.map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue }
            return ([place.joined(separator: ".")].filter { !$0.isEmpty } + [context.debugDescription])
                .joined(separator: ": ")
        default: return "\(error)"
        }
    }
}
