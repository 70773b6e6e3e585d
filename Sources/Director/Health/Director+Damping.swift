internal import HealthChecks
internal import HostState
internal import LoadBalancing
internal import Logging
internal import ServiceConfiguration

/// What flap damping holds against real servers outlives the daemon, but no stop.
extension Director {
    private var dampingFile: DampingFile { DampingFile(path: instance.damping) }

    /// Of the last daemon, by the services' first listeners as they are now.
    func formerDamping() -> [ServiceAddress: [IPv4Address: FlapDamping]] {
        let (entries, problem) = dampingFile.read()
        if let problem { logger.error("\(problem)") }
        var damping: [ServiceAddress: [IPv4Address: FlapDamping]] = [:]
        for entry in entries {
            guard let service = configuration.services.first(where: { $0.listeners.contains(entry.service) }) else {
                continue
            }
            damping[service.address, default: [:]][entry.server] = entry.damping
        }
        return damping
    }

    /// Once for all that changes at a time.
    func rememberDamping() {
        guard !remembersDamping, running != nil else { return }
        remembersDamping = true
        Task { writeDamping() }
    }

    func writeDamping() {
        guard remembersDamping else { return }
        remembersDamping = false
        let entries = states.flatMap { service, state in
            state.damping.map { DampingFile.Entry(service: service, server: $0, damping: $1) }
        }
        do { try dampingFile.write(entries) } catch { logger.error("\(error)") }
    }
}
