import BPF
import DataPlane
import Director
import HostState
import Logging
import ServiceConfiguration
import XDPDataPlane

/// The provider of data planes that forward by XDP.
struct XDPDataPlanes: DataPlaneProvider {
    private func setup(_ configuration: DirectorConfiguration, _ instance: InstancePaths) -> XDPHost.Setup {
        let mode: XDPMode? =
            switch configuration.xdp {
            case .auto: nil
            case .native: .native
            case .generic: .generic
            }
        return XDPHost.Setup(interfaces: configuration.interfaces, mode: mode, instance: instance)
    }

    func preflight(
        _ configuration: DirectorConfiguration, demand: DataPlaneDemand, instance: InstancePaths
    ) throws {
        try XDPHost.preflight(setup(configuration, instance), demand: demand)
    }

    func open(
        _ configuration: DirectorConfiguration, demand: DataPlaneDemand, instance: InstancePaths,
        journal: ChangeJournal, logger: Logger
    ) throws -> any DataPlane {
        try XDPHost(setup(configuration, instance), demand: demand, journal: journal, logger: logger)
    }

    func leftovers(_ instance: InstancePaths, besides changes: [Change]) throws -> [Change] {
        try XDPHost.leftovers(instance, besides: changes)
    }

    func isPresent(_ instance: InstancePaths) -> Bool { XDPHost.hasDataPlane(instance) }

    func stored(_ instance: InstancePaths) throws -> StoredDataPlane? { try XDPHost.stored(instance) }

    func removeEmptyPlaces(_ instance: InstancePaths) { instance.removeBPFDirectoryIfEmpty() }
}
