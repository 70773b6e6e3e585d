public import DataPlane
internal import HealthChecks
public import HostState
public import Logging
public import ServiceConfiguration

/// Makes data planes of one kind, and knows what they leave behind.
public protocol DataPlaneProvider: Sendable {
    /// Refuses what `open` would fail for, without changing anything.
    func preflight(
        _ configuration: DirectorConfiguration, demand: DataPlaneDemand, instance: InstancePaths) throws

    /// The data plane, ready to be given services; it takes over what an earlier director left. What it changes in the
    /// machine is in the journal, which the caller undoes where this fails.
    func open(
        _ configuration: DirectorConfiguration, demand: DataPlaneDemand, instance: InstancePaths,
        journal: ChangeJournal, logger: Logger
    ) throws -> any DataPlane

    /// What a director left that is not among the `changes` of its journal.
    func leftovers(_ instance: InstancePaths, besides changes: [Change]) throws -> [Change]

    /// Whether something of the instance may forward, with or without a daemon.
    func isPresent(_ instance: InstancePaths) -> Bool

    /// What any process can read of the instance's data plane; nil where there is none.
    func stored(_ instance: InstancePaths) throws -> StoredDataPlane?

    /// Removes places that instances share, where none is in them any more.
    func removeEmptyPlaces(_ instance: InstancePaths)
}

/// The parts around a director that tests replace.
struct DirectorEnvironment: Sendable {
    var dataPlanes: any DataPlaneProvider
    var network: any Network = KernelNetwork()
    var checker: any HealthChecker = Checker()
    var clock: any DirectorClock = SystemClock()
}

/// The checker of real servers.
protocol HealthChecker: Sendable {
    /// Never waits. No two questions that are out for the same inbox have the same id.
    func ask(_ questions: [Checker.Question], answersTo inbox: Checker.Inbox)
    /// The same for one question, whose id is of no importance.
    func ask(_ question: Checker.Question) async -> Checker.Answer
    /// Ends those of the questions that are still out.
    func cancel(_ ids: Set<UInt64>, answersTo inbox: Checker.Inbox)
}

extension Checker: HealthChecker {}

/// The director's clock.
protocol DirectorClock: Sendable {
    var now: ContinuousClock.Instant { get }
    func sleep(until deadline: ContinuousClock.Instant) async throws
}

extension DirectorClock {
    func sleep(for duration: Duration) async throws { try await sleep(until: now + duration) }
}

struct SystemClock: DirectorClock {
    var now: ContinuousClock.Instant { .now }
    func sleep(until deadline: ContinuousClock.Instant) async throws {
        try await ContinuousClock().sleep(until: deadline)
    }
}
