public import DataPlane
internal import HealthChecks
public import HostState
public import Logging
public import ServiceConfiguration

/// Opens data planes of one kind, and finds the changes that they left in the machine.
public protocol DataPlaneProvider: Sendable {
    /// Throws the error that `open` would fail with, without any change.
    func preflight(
        _ configuration: DirectorConfiguration, demand: DataPlaneDemand, instance: InstancePaths) throws

    /// Opens the data plane, ready for services, and adopts the maps that an earlier director left. Changes of the
    /// machine are journalled. If this throws, the caller undoes the changes.
    func open(
        _ configuration: DirectorConfiguration, demand: DataPlaneDemand, instance: InstancePaths,
        journal: ChangeJournal, logger: Logger
    ) throws -> any DataPlane

    /// Returns the changes of the machine that a director left, and that are not among the `changes` of its journal.
    func leftovers(_ instance: InstancePaths, besides changes: [Change]) throws -> [Change]

    /// Returns whether a data plane of the instance may forward, with or without a daemon.
    func isPresent(_ instance: InstancePaths) -> Bool

    /// Returns the contents of the instance's pinned data plane, or nil where there is none.
    func stored(_ instance: InstancePaths) throws -> StoredDataPlane?

    /// Removes the directories that instances share, where they are empty.
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
    /// Sends questions without waiting for their answers. The ids of open questions of one inbox are distinct.
    func ask(_ questions: [Checker.Question], answersTo inbox: Checker.Inbox)
    /// Sends one question, and returns its answer. The question's id is not used.
    func ask(_ question: Checker.Question) async -> Checker.Answer
    /// Cancels the questions with these ids that are still open.
    func cancel(_ ids: Set<UInt64>, answersTo inbox: Checker.Inbox)
}

extension Checker: HealthChecker {}

/// A director's clock.
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
