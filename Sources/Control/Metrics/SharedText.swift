/// A text that is gathered once for all who ask within `lifetime`, however many they are.
actor SharedText {
    private let lifetime: Duration
    private let gather: @Sendable () async throws -> String?
    private var latest: (text: Task<String?, any Error>, began: ContinuousClock.Instant)?

    init(lifetime: Duration, gather: @escaping @Sendable () async throws -> String?) {
        self.lifetime = lifetime
        self.gather = gather
    }

    /// Of at most `lifetime` ago, or as long ago as gathering it takes. Nil and errors are shared, too.
    func text() async throws -> String? {
        if let latest, latest.began.duration(to: .now) < lifetime { return try await latest.text.value }
        // Never two at a time.
        let former = latest?.text
        let text = Task { [gather] in
            _ = try? await former?.value
            return try await gather()
        }
        latest = (text, .now)
        return try await text.value
    }
}
