internal import DataPlane
internal import LoadBalancing
internal import Logging

/// The sweep of the flow table, in parts: between two parts the director is free for all else.
extension Director {
    private static let sweepPart = Duration.milliseconds(4)
    private static let sweepPeriod = Duration.seconds(5)

    /// Begins a pass over the whole table every five seconds, until cancelled.
    func keepSwept() async {
        while !Task.isCancelled {
            let began = clock.now
            var failure: (any Error)?
            do { try await sweepOn { !$0.isSwept(since: began) } } catch { failure = error }
            attempt("sweep the flow table") { if let failure { throw failure } }
            try? await clock.sleep(until: began + Self.sweepPeriod)
        }
    }

    /// Sweeps before real servers that come back get new connections: half-open connections that such a server left when
    /// it died must not count against it.
    func sweepForReturning() async {
        // An update that follows sweeps again where this fails, and logs the error.
        try? await sweepOn { Self.holdsAbandoned(self.applier.pending.returning, $0) }
    }

    /// The same without a pause, for a caller that cannot wait.
    func sweepAtOnce(for returning: [ServiceMember: ContinuousClock.Instant]) throws {
        guard let dataPlane = running?.dataPlane else { return }
        while Self.holdsAbandoned(returning, dataPlane) { try dataPlane.sweep(for: .seconds(1)) }
    }

    private static func holdsAbandoned(
        _ returning: [ServiceMember: ContinuousClock.Instant], _ dataPlane: any DataPlane
    ) -> Bool {
        returning.contains { dataPlane.mayHoldAbandoned($0.key, until: $0.value) }
    }

    /// Sweeps in parts while more is owed. After each part the data plane may be another one.
    private func sweepOn(while isOwed: (any DataPlane) -> Bool) async throws {
        while !Task.isCancelled, let dataPlane = running?.dataPlane, isOwed(dataPlane) {
            try dataPlane.sweep(for: Self.sweepPart)
            await Task.yield()
        }
    }
}
