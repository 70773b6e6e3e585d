internal import FoundationEssentials
internal import HostState
internal import SystemCalls

/// Where open events outlive the daemon. Written as a whole or not at all; without any there is no file.
struct OpenEventsFile {
    let path: String

    /// `problem`: what stands there is no such file; it is passed over.
    func read() -> (events: OpenEvents, problem: String?) {
        guard File.exists(path) else { return (OpenEvents(), nil) }
        var open = OpenEvents()
        do {
            for event in try JSONDecoder().decode([DirectorEvent].self, from: Data(try File.read(path))) {
                _ = open.take(event)
            }
            return (open, nil)
        } catch {
            return (OpenEvents(), "read \(path): \(error): what the last daemon told of services is not known")
        }
    }

    /// It outlives this process, and need not outlive a crash of the machine: nobody waits for a disk.
    func write(_ open: OpenEvents) throws {
        guard !open.events.isEmpty else { return try File.remove(path, synchronized: false) }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try File.makeDirectory(File.parent(of: path))
        try File.replace(path, with: Array(try encoder.encode(open.events)) + [10], synchronized: false)
    }
}
