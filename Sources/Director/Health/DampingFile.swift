internal import Addresses
internal import FoundationEssentials
internal import HealthChecks
internal import LoadBalancing
internal import SystemCalls

/// The file with the state of flap damping, for a daemon that takes over. It is replaced as a whole, and absent if no
/// real server has a damping state.
struct DampingFile {
    struct Entry: Hashable, Codable {
        var service: ServiceAddress
        var server: IPAddress
        var damping: FlapDamping
    }

    let path: String

    /// Reads the entries. A damaged file counts as empty, and `problem` is its error.
    func read() -> (entries: [Entry], problem: String?) {
        guard File.exists(path) else { return ([], nil) }
        do {
            return (try JSONDecoder().decode([Entry].self, from: Data(try File.read(path))), nil)
        } catch {
            return ([], "read \(path): \(error): the state of flap damping is lost")
        }
    }

    /// Writes the entries without a wait for the disk. The entries are of no use after a crash of the machine.
    func write(_ entries: [Entry]) throws {
        guard !entries.isEmpty else { return try File.remove(path, synchronized: false) }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try File.replace(path, with: Array(try encoder.encode(entries)) + [10], synchronized: false)
    }
}
