internal import Addresses
internal import LoadBalancing

extension Findings {
    /// Notes an error if a VIP is in the prefix of outer source addresses. Real servers hold the VIP as an address of
    /// their own, and drop packets that come from the VIP.
    mutating func validateOuterSources(of configuration: DirectorConfiguration, place: String) {
        guard let prefix = configuration.outerSources, let vip = configuration.vips.filter(prefix.contains).min() else {
            return
        }
        add(
            place, "\(vip), a VIP, is in it, and real servers drop what comes from it",
            accepted: "a prefix without VIPs")
    }

    /// Notes an error where the packet program's tables cannot hold the services, real servers or listeners. `place`
    /// returns the beginning of an error about one service, or about all services for nil.
    mutating func validateSize(of configuration: DirectorConfiguration, place: (ConfiguredService?) -> String) {
        var servers = 0
        var listeners = 0
        var places: Set<String> = []
        for service in configuration.services {
            let hasSorryServer = service.policy.sorryServer != nil
            let count = service.servers.count + (hasSorryServer ? 1 : 0)
            servers += count
            listeners += service.listeners.reduce(0) { $0 + $1.listenerCount }
            let compares = service.forwarding.scheduler.comparesServers
            let most = compares ? TableLimits.comparedServers : TableLimits.serversOfAService
            guard count > most, places.insert(place(service)).inserted else { continue }
            add(
                place(service),
                "\(count) real servers\(hasSorryServer ? " with the sorry server" : "") in a service of scheduler "
                    + service.forwarding.scheduler.rawValue,
                accepted: "\(most) at most" + (compares ? "; more with \(Self.schedulersOfMany)" : ""))
        }
        if servers > TableLimits.servers {
            add(
                place(nil), "\(servers) real servers, counted once for each service",
                accepted: "\(TableLimits.servers) at most")
        }
        if listeners > TableLimits.listeners {
            add(
                place(nil), "\(listeners) listeners, where one without a port counts as two",
                accepted: "\(TableLimits.listeners) at most")
        }
    }

    private static let schedulersOfMany = Scheduler.allCases.filter { !$0.comparesServers }.map(\.rawValue)
        .joined(separator: ", ")
}
