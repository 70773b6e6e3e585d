/// A text that all readers within `lifetime` share. It is never gathered twice at a time.
actor SharedText<Text: Sendable> {
    private let lifetime: Duration
    private let gather: @Sendable () async throws -> Text?
    private var gathering: Task<Text?, any Error>?
    private var kept: (text: Text?, since: ContinuousClock.Instant)?

    init(lifetime: Duration, gather: @escaping @Sendable () async throws -> Text?) {
        self.lifetime = lifetime
        self.gather = gather
    }

    func text() async throws -> Text? {
        if let gathering { return try await gathering.value }
        if let kept, kept.since.duration(to: .now) < lifetime { return kept.text }
        // An unstructured task goes on when the first reader is cancelled.
        let task = Task { [gather] in try await gather() }
        gathering = task
        defer { gathering = nil }
        let text = try await task.value
        kept = (text, .now)
        return text
    }
}
