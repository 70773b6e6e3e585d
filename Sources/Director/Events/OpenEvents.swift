internal import FoundationEssentials
internal import HostState
internal import LoadBalancing
internal import SystemCalls

/// What services were told to lack, until they are told to have it again: also by a daemon that comes later.
struct OpenEvents: Sendable, Hashable {
    /// In the order in which they were told.
    private(set) var events: [DirectorEvent] = []

    /// Takes note of what is told. True where it opens or ends something.
    mutating func record(_ event: DirectorEvent) -> Bool {
        let before = events
        events.removeAll { open in
            open.service == event.service && open.server == event.server
                && (open.kind == event.kind || open.kind.end == event.kind)
        }
        if event.kind.end != nil { events.append(event) }
        return events != before
    }

    /// Keeps those of services that are still there, by the addresses that `address` says they have now. True where that
    /// changes anything.
    mutating func keep(_ address: (DirectorEvent) -> ServiceAddress?) -> Bool {
        let before = events
        events = events.compactMap { event in
            guard let address = address(event) else { return nil }
            var event = event
            event.service = address
            return event
        }
        return events != before
    }
}

extension DirectorEvent.Kind {
    /// Of what a service lacks: what tells that it has it again.
    var end: DirectorEvent.Kind? {
        switch self {
        case .serviceDown: .serviceUp
        case .quorumLost: .quorumRegained
        case .sorryServerIn: .sorryServerOut
        default: nil
        }
    }
}

/// Where open events outlive the daemon. Written as a whole or not at all; without any there is no file.
struct OpenEventsFile {
    let path: String

    /// `problem`: what stands there is no such file; it is passed over.
    func read() -> (events: OpenEvents, problem: String?) {
        guard File.exists(path) else { return (OpenEvents(), nil) }
        var open = OpenEvents()
        do {
            for event in try JSONDecoder().decode([DirectorEvent].self, from: Data(try File.read(path))) {
                _ = open.record(event)
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
