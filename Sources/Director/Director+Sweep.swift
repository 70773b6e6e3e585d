internal import DataPlane
internal import HealthChecks
internal import Logging

/// The sweep of the flow table, in parts: whoever else waits for the director has it in between.
extension Director {
    private static let sweepPart = Duration.milliseconds(4)
    private static let sweepPeriod = Duration.seconds(5)

    /// A pass begins every five seconds.
    func keepSwept() async {
        while !Task.isCancelled {
            let began = clock.now
            var failure: (any Error)?
            do { try await sweepOn { !$0.isSwept(since: began) } } catch { failure = error }
            attempt("sweep the flow table") { if let failure { throw failure } }
            try? await clock.sleep(until: began + Self.sweepPeriod)
        }
    }

    /// Before those that come back get new connections: what such a server left half-open when it died must not weigh
    /// on it.
    func sweepForThoseThatComeBack() async {
        waitingForSweep += 1
        defer { waitingForSweep -= 1 }
        // Where the kernel refuses, `settle` says so.
        try? await sweepOn { self.mayHoldAbandoned($0) }
    }

    /// For whoever cannot wait.
    func sweepAtOnceForThoseThatComeBack() throws {
        guard let dataPlane = running?.dataPlane else { return }
        while mayHoldAbandoned(dataPlane) { try dataPlane.sweep(for: .seconds(1)) }
    }

    private func mayHoldAbandoned(_ dataPlane: any DataPlane) -> Bool {
        untold.contains { service, transition in
            guard case .serverUp(let server) = transition, let since = states[service]?.servers[server]?.since
            else { return false }
            return dataPlane.mayHoldAbandoned(ServiceMember(service: service, server: server), until: since)
        }
    }

    /// The data plane may be another one after each part.
    private func sweepOn(while isOwed: (any DataPlane) -> Bool) async throws {
        while !Task.isCancelled, let dataPlane = running?.dataPlane, isOwed(dataPlane) {
            try dataPlane.sweep(for: Self.sweepPart)
            await Task.yield()
        }
    }
}
