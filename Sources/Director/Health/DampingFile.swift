internal import Addresses
internal import FoundationEssentials
internal import HealthChecks
internal import LoadBalancing
internal import SystemCalls

/// Where a daemon that takes over finds what flap damping holds against real servers. Written as a whole or not at all;
/// where nothing is held against any there is no file.
struct DampingFile {
    struct Entry: Hashable, Codable {
        var service: ServiceAddress
        var server: IPAddress
        var damping: FlapDamping
    }

    let path: String

    /// `problem`: what stands there is no such file; it is passed over.
    func read() -> (entries: [Entry], problem: String?) {
        guard File.exists(path) else { return ([], nil) }
        do {
            return (try JSONDecoder().decode([Entry].self, from: Data(try File.read(path))), nil)
        } catch {
            return ([], "read \(path): \(error): what flap damping held against real servers is not known")
        }
    }

    /// It is of no use after a crash of the machine: nobody waits for a disk.
    func write(_ entries: [Entry]) throws {
        guard !entries.isEmpty else { return try File.remove(path, synchronized: false) }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try File.replace(path, with: Array(try encoder.encode(entries)) + [10], synchronized: false)
    }
}
