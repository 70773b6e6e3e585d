internal import HealthChecks
internal import Logging
internal import ServiceConfiguration

/// All that the desired services follow from, to which a refused change returns.
private struct Revision {
    var configuration: DirectorConfiguration
    var overrides: Overrides
    var health: HealthSupervisor
}

/// A reload or a drain is made whole, or not at all.
extension Director {
    /// Makes a change. Where it throws, configuration, drains and health are again what they were, and `reapply` has the
    /// data plane follow them. There is no suspension point in it, so that nothing else happens in between.
    func revise<Result>(
        _ change: () throws -> Result, orElse reapply: () throws -> Void
    ) throws -> Result {
        // Earlier changes stay in force.
        applyPending()
        let former = Revision(configuration: configuration, overrides: maintenance.overrides, health: health)
        do { return try change() } catch {
            configuration = former.configuration
            restoreOverrides(former.overrides)
            restoreHealth(former.health)
            do { try reapply() } catch {
                logger.error("go back to the services before: \(error)")
                oweServices()
            }
            throw error
        }
    }

    /// Makes the configuration another one, within `revise`.
    func setConfiguration(_ wanted: DirectorConfiguration) { configuration = wanted }
}
