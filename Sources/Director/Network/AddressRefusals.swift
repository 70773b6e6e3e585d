internal import Addresses
internal import HostState
internal import LoadBalancing
internal import Netlink
internal import ServiceConfiguration

/// The refusals of addresses that cannot be VIPs or real servers, by this machine's interfaces and routes.
enum AddressRefusals {
    /// Throws for the first address that is refused. `journal` has the VIPs that an earlier start of this instance
    /// placed.
    static func refuse(
        _ configuration: DirectorConfiguration, journal: [Change], _ network: any Network
    ) throws {
        try refuseEveryPortOfThisDirector(configuration, network)
        let addresses = try network.addresses()
        let places = configuration.places
        for vip in configuration.vips.sorted() { try refuseEndOfSubnet(vip, places.ofVIP(vip), addresses) }
        for server in configuration.serverAddresses.sorted() {
            try refuseEndOfSubnet(server, places.ofServer(server), addresses)
        }
        let put = Set(
            journal.compactMap { change -> IPAddress? in
                if case .address(_, let address, _, _) = change { address } else { nil }
            })
        let everyPort = Set(configuration.services.flatMap(\.listeners).filter(\.isAnyPort).map(\.vip))
        for entry in addresses where everyPort.contains(entry.address) && !put.contains(entry.address) {
            guard
                try entry.isOwn && configuration.managesAddress || isSource(entry.address, configuration, network)
            else { continue }
            let name = try network.link(index: entry.interface)?.name ?? "an interface"
            throw DirectorError(
                .badValue,
                "\(places.ofVIP(entry.address)): \(name) has it already, as \(entry.address)/\(entry.prefixLength), and with every "
                    + "port all that comes for it would go to the real servers: this machine's sshd and all else that "
                    + "listens there would be cut off (accepted: ports, as \(entry.address):80, or a VIP of its own)")
        }
    }

    /// Returns whether this machine's packets to its first real server, by address, have this address as their source.
    private static func isSource(
        _ address: IPAddress, _ configuration: DirectorConfiguration, _ network: any Network
    ) throws -> Bool {
        guard let server = configuration.serverAddresses.min() else { return false }
        return try network.route(to: server)?.source == address
    }

    /// Throws for a VIP that is the source of this machine's packets to a real server. Tunnelled packets never have a
    /// VIP as their outer source, so that server would have no path.
    static func refuseOuterSources(
        _ vips: Set<IPAddress>, of configuration: DirectorConfiguration, _ network: any Network
    ) throws {
        if vips.isEmpty { return }
        for server in configuration.serverAddresses.sorted() {
            guard let source = try? network.route(to: server)?.source, vips.contains(source), source != server else {
                continue
            }
            throw DirectorError(
                .badValue,
                "\(configuration.places.ofVIP(source)): what this machine sends to real server \(server) leaves from it, which is not possible "
                    + "for a VIP (accepted: another VIP, or first a route to \(server) with another 'src')")
        }
    }

    // MARK: Local nodes

    /// Refuses the director itself as a real server (IPVS: a local node) of a service with every port.
    private static func refuseEveryPortOfThisDirector(
        _ configuration: DirectorConfiguration, _ network: any Network
    ) throws {
        for server in configuration.serverAddresses.sorted() {
            // `NextHops` logs a route that cannot be looked up.
            guard let reason = reasonAgainstLocalNode(server, of: configuration),
                (try? network.route(to: server))?.isLocal == true
            else { continue }
            throw DirectorError(.badValue, "\(configuration.places.ofServer(server)): \(reason)")
        }
    }

    /// Returns the reason why the real server cannot be a local node, or nil. A local node of a VIP with all ports
    /// would open every port of this machine to its clients, also that of sshd.
    static func reasonAgainstLocalNode(_ server: IPAddress, of configuration: DirectorConfiguration) -> String? {
        // The search for an any-port listener comes first, as services may have thousands of real servers.
        let services = configuration.services.lazy.filter { service in
            service.listeners.contains(where: \.isAnyPort)
                && (service.servers.contains { $0.address == server } || service.policy.sorryServer == server)
        }
        guard let listener = services.first?.listeners.first(where: \.isAnyPort) else { return nil }
        return "\(server) is this director, and \(listener) has every port: clients would reach all that listens here, "
            + "sshd too (accepted: VIPs with ports, as \(listener.vip):80)"
    }

    // MARK: Subnets

    /// Throws where the address is the network or broadcast address of a subnet, which no host has.
    private static func refuseEndOfSubnet(
        _ address: IPAddress, _ place: String, _ addresses: [InterfaceAddress]
    ) throws {
        guard address.family == .v4 else { return }
        for entry in addresses where entry.prefixLength < 31 && entry.peer == nil && entry.contains(address) {
            guard let subnet = IPPrefix(around: address, length: Int(entry.prefixLength)) else { continue }
            let kind: String
            switch address {
            case subnet.addresses.upperBound: kind = "broadcast"
            case subnet.address: kind = "network"
            default: continue
            }
            throw DirectorError(
                .badValue,
                "\(place): the \(kind) address of \(subnet), "
                    + "which this machine is in (accepted: a host's address)")
        }
    }
}

extension InterfaceAddress {
    /// Whether this is the machine's own address in a subnet. A VIP of another program is a /32 or a secondary address.
    fileprivate var isOwn: Bool { prefixLength < 32 && !isSecondary }
}
