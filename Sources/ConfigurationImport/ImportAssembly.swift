internal import Addresses
internal import LoadBalancing

/// The steps that make ipvsd's services from the services of either format.
enum ImportAssembly {
    static func assemble(_ file: inout ImportedFile) {
        joinAnyPortServices(&file)
        dropRepeatedListeners(&file)
        let vips = Set(file.services.flatMap { $0.listeners.map(\.vip) })
        for index in file.services.indices { validateServers(of: &file.services[index], apartFrom: vips) }
        for index in file.services.indices.reversed() {
            let service = file.services[index]
            if service.listeners.isEmpty {
                file.drop(index, "no listener is left")
            } else if service.servers.isEmpty {
                file.drop(index, "it has no usable real server, and IPVS would refuse its clients")
            }
        }
    }

    /// Joins the any-port services of a VIP. IPVS has one for TCP and another for UDP, and ipvsd has a single one for
    /// both protocols.
    private static func joinAnyPortServices(_ file: inout ImportedFile) {
        var index = 0
        while index < file.services.count {
            let service = file.services[index]
            if let place = service.listeners.indices.first(where: {
                service.listeners[$0].port == nil && service.listeners[$0].transport != nil
            }) {
                let listener = service.listeners[place]
                let other = listener.transport == .tcp ? TransportProtocol.udp : .tcp
                let wanted = ImportedListener(vip: listener.vip, port: nil, transport: other)
                if let partner = file.services.indices.first(where: {
                    $0 > index && file.services[$0].listeners == [wanted] && file.services[$0].serves(as: service)
                }) {
                    let joined = file.services.remove(at: partner)
                    file.services[index].remark(
                        .note, joined.place,
                        "\(joined.title): the any-port service of \(service.title) takes both protocols"
                    )
                    file.services[index].remarks += joined.remarks + joined.servers.flatMap(\.remarks)
                } else if service.listeners.contains(wanted) {
                    file.services[index].listeners.removeAll { $0 == wanted }
                } else {
                    file.services[index].remark(
                        .changed, service.place,
                        "\(service.title): every port of \(listener.transport == .tcp ? "TCP" : "UDP") only; ipvsd's "
                            + "any-port service takes \(other == .tcp ? "TCP" : "UDP"), too: name the ports to be exact"
                    )
                }
                file.services[index].listeners[place].transport = nil
                continue
            }
            index += 1
        }
    }

    private static func dropRepeatedListeners(_ file: inout ImportedFile) {
        var taken: [ImportedListener: SourcePlace] = [:]
        for index in file.services.indices {
            var kept: [ImportedListener] = []
            for listener in file.services[index].listeners {
                if let before = taken[listener] {
                    file.services[index].remark(
                        .left, file.services[index].place,
                        "\(file.services[index].title): \(listener) belongs to the service of \(before)")
                } else {
                    taken[listener] = file.services[index].place
                    kept.append(listener)
                }
            }
            file.services[index].listeners = kept
        }
    }

    private static func validateServers(of service: inout ImportedService, apartFrom vips: Set<IPAddress>) {
        var known: Set<IPAddress> = []
        var kept: [ImportedServer] = []
        for var server in service.servers {
            let address = server.server.address
            let reason: String? =
                if vips.contains(address) {
                    "is a VIP: a director that serves itself is named by another of its own addresses"
                } else if !known.insert(address).inserted {
                    "is there already: a real server is one host, whatever its ports"
                } else {
                    nil
                }
            guard let reason else {
                kept.append(server)
                continue
            }
            server.remark(.left, "real server \(address): it \(reason)")
            service.remarks += server.remarks
        }
        service.servers = kept
        if let sorry = service.policy.sorryServer,
            vips.contains(sorry) || kept.contains(where: { $0.server.address == sorry })
        {
            service.policy.sorryServer = nil
            service.remark(
                .left, service.place, "sorry server \(sorry): it is \(vips.contains(sorry) ? "a VIP" : "a real server")"
            )
        }
        fitQuorum(&service)
    }

    /// Lowers a quorum that the weights cannot reach, as keepalived does (validate_check_config).
    private static func fitQuorum(_ service: inout ImportedService) {
        let asked = service.policy.quorum
        guard asked != Quorum.Rule() else { return }
        let sum = service.servers.reduce(0) { $0 + Int($1.server.weight) }
        var quorum = asked
        quorum.required = max(1, min(asked.required, sum))
        quorum.hysteresis = max(0, min(asked.hysteresis, quorum.required - 1, sum - quorum.required))
        guard quorum != asked else { return }
        service.policy.quorum = quorum
        service.remark(
            .note, service.place,
            "quorum \(asked.required), hysteresis \(asked.hysteresis): \(quorum.required) and "
                + "\(quorum.hysteresis), as all weights together are \(sum)")
    }
}
