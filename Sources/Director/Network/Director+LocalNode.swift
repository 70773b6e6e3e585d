internal import DataPlane
internal import HostState
internal import LoadBalancing
internal import Netlink
internal import ServiceConfiguration

/// The director itself as a real server, which IPVS calls a local node: packets for it go up its own stack.
extension Director {
    var paths: PathFinder { PathFinder(network: network) }

    /// A local node of a VIP with all ports would open every port of this machine to its clients, sshd's too.
    private static func opensEveryPort(
        _ server: IPv4Address, _ configuration: DirectorConfiguration
    ) -> ServiceAddress? {
        // Most services have no such listener, which is soon seen; their real servers may be thousands.
        configuration.services.lazy.filter { service in
            service.listeners.contains(where: \.isAnyPort)
                && (service.servers.contains { $0.address == server }
                    || service.policy.sorryServer == server)
        }
        .first?.listeners.first(where: \.isAnyPort)
    }

    private static func reason(_ server: IPv4Address, _ service: ServiceAddress) -> String {
        "\(server) is this director, and \(service) has every port: clients would reach all that listens here, sshd "
            + "too (accepted: VIPs with ports, as \(service.vip):80)"
    }

    static func refuseEveryPortOfThisDirector(
        _ configuration: DirectorConfiguration, _ network: any Network
    ) throws {
        for server in configuration.serverAddresses.sorted() {
            // A route that cannot be looked up is named where it is followed.
            guard let service = opensEveryPort(server, configuration),
                (try? network.route(to: server))?.isLocal == true
            else { continue }
            throw DirectorError(.badValue, "\(configuration.places.ofServer(server)): " + reason(server, service))
        }
    }

    /// The way to a real server; one whose address this machine got later on is reached no more where it opens all. No
    /// tunnelled packet leaves from one of the `vips`, of all services.
    func way(
        to server: IPv4Address, journal: ChangeJournal, vips: Set<IPv4Address>
    ) throws -> PathFinder.Result {
        let result = try paths.path(to: server, journal: journal)
        guard case .found(let path, _) = result else { return result }
        if path.isLocal {
            guard let service = Self.opensEveryPort(server, configuration) else { return result }
            return .none(Self.reason(server, service))
        }
        guard vips.contains(path.source) else { return result }
        return .none(
            "the kernel chooses \(path.source), a VIP, as the source of packets to \(server), and real servers drop what "
                + "comes from an address of their own (give this machine another address, or the route a 'src')")
    }
}
