internal import FoundationEssentials
internal import HostState
internal import LoadBalancing
internal import SystemCalls

/// The published events that report a service's lack, such as quorum-lost, until their ends are published. A later
/// daemon may publish an end.
struct OpenEvents: Sendable, Hashable {
    /// The events, in the order of their publication.
    private(set) var events: [DirectorEvent] = []

    /// Records a published event. Returns whether the open events have changed.
    mutating func record(_ event: DirectorEvent) -> Bool {
        let before = events
        events.removeAll { open in
            open.service == event.service && open.server == event.server
                && (open.kind == event.kind || open.kind.end == event.kind)
        }
        if event.kind.end != nil { events.append(event) }
        return events != before
    }

    /// Keeps the events of services that still exist. `address` returns the present address of an event's service, or
    /// nil where the service is gone. Returns whether the open events have changed.
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
    /// The kind of event that ends an event of this kind. Nil for a kind that does not report a service's lack.
    var end: DirectorEvent.Kind? {
        switch self {
        case .serviceDown: .serviceUp
        case .quorumLost: .quorumRegained
        case .sorryServerIn: .sorryServerOut
        default: nil
        }
    }
}

/// The file with open events, for the next daemon. The file is replaced as a whole, and absent where no event is open.
struct OpenEventsFile {
    let path: String

    /// Reads the events. A damaged file counts as empty, and `problem` is its error.
    func read() -> (events: OpenEvents, problem: String?) {
        guard File.exists(path) else { return (OpenEvents(), nil) }
        var open = OpenEvents()
        do {
            for event in try JSONDecoder().decode([DirectorEvent].self, from: Data(try File.read(path))) {
                _ = open.record(event)
            }
            return (open, nil)
        } catch {
            return (OpenEvents(), "read \(path): \(error): the open events of the last daemon are lost")
        }
    }

    /// Writes the events without a wait for the disk. The file need not survive a crash of the machine.
    func write(_ open: OpenEvents) throws {
        guard !open.events.isEmpty else { return try File.remove(path, synchronized: false) }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try File.makeDirectory(File.parent(of: path))
        try File.replace(path, with: Array(try encoder.encode(open.events)) + [10], synchronized: false)
    }
}
