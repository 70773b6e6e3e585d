internal import Addresses
internal import LoadBalancing
internal import ServiceConfiguration

/// A service's scheduling in IPVS's words, which ipvsadm and keepalived share.
enum ImportScheduling {
    static func set(scheduler name: String, at place: SourcePlace, _ service: inout ImportedService) {
        if let scheduler = Scheduler(rawValue: name) {
            service.forwarding.scheduler = scheduler
        } else {
            service.remark(
                .changed, place, "scheduler \(name): ipvsd has no such scheduler, and uses wlc, the default")
        }
    }

    /// Sets scheduler flags. The service has to have its scheduler already, which decides what `flag-1` to `flag-3`
    /// mean (IP_VS_SVC_F_SCHED1 to IP_VS_SVC_F_SCHED3).
    static func set(flags words: [String], at place: SourcePlace, _ service: inout ImportedService) {
        let scheduler = service.forwarding.scheduler
        for word in words {
            let flag: SchedulerFlag? =
                switch (scheduler, word) {
                case (.sh, "flag-1"): .shFallback
                case (.sh, "flag-2"): .shPort
                case (.mh, "flag-1"): .mhFallback
                case (.mh, "flag-2"): .mhPort
                default: SchedulerFlag(rawValue: word)
                }
            if let flag, flag.scheduler == scheduler {
                if !service.flags.contains(flag) { service.flags.append(flag) }
            } else if flag != nil || ["flag-1", "flag-2", "flag-3", "hashed"].contains(word) {
                service.remark(
                    .note, place, "\(word): it has no effect with the scheduler \(scheduler.rawValue)")
            } else {
                service.remark(.left, place, "scheduler flag \(word): ipvsd has no such flag")
            }
        }
    }

    /// Sets one-packet scheduling, unless all listeners are TCP.
    static func setOnePacket(at place: SourcePlace, _ service: inout ImportedService) {
        if service.listeners.contains(where: { $0.transport != .tcp }) || service.listeners.isEmpty {
            service.forwarding.isOnePacket = !service.listeners.isEmpty
        } else {
            service.remark(.note, place, "one-packet scheduling: it has no effect on TCP")
        }
    }

    static func set(
        persistence seconds: Int, netmask: String?, at place: SourcePlace, _ service: inout ImportedService
    ) {
        let longest = Persistence.timeouts.upperBound
        guard seconds > 0 else {
            service.remark(.note, place, "a persistence of 0 s means no persistence")
            return
        }
        if seconds > longest {
            service.remark(
                .changed, place, "a persistence of \(seconds) s becomes \(longest) s (2 h 26 min), the longest")
        }
        var length = 32
        if let netmask {
            if let found = try? AddressText.prefixLength(netmask) {
                length = found
            } else {
                service.remark(
                    .left, place,
                    "netmask \(netmask) of the persistence: ipvsd accepts 1 to 32 leading bits; "
                        + "persistence is by the whole address")
            }
        }
        service.forwarding.persistence = Persistence(timeout: min(seconds, longest), prefixLength: length)
    }

    static func refuse(engine: String, at place: SourcePlace, _ service: inout ImportedService) {
        service.remark(
            .left, place,
            "persistence engine \(engine): ipvsd identifies clients by their addresses, and does not inspect "
                + "payloads")
    }
}

/// The listeners of firewall marks. Only the firewall's rules say which listeners a mark has, so the operator names
/// them.
enum ImportMarks {
    /// Refuses listeners for marks that the source lacks.
    static func check(_ options: Import, _ file: ImportedFile) throws(ConfigurationErrors) {
        let known = Set(file.services.flatMap(\.marks))
        let unknown = Set(options.marks.keys).subtracting(known).sorted()
        guard !unknown.isEmpty else { return }
        let accepted =
            known.isEmpty
            ? "none, as there is no such service" : known.sorted().map(String.init).joined(separator: ", ")
        throw ConfigurationErrors(
            unknown.map {
                ConfigurationError(
                    place: "--fwmark \($0)", problem: "no service of \(file.name) has this mark", accepted: accepted)
            })
    }

    static func listen(
        to mark: UInt32, isIPv6: Bool, at place: SourcePlace, _ options: Import, _ service: inout ImportedService
    ) {
        service.marks.insert(mark)
        if isIPv6 {
            service.remark(.left, place, "firewall mark \(mark) of IPv6: ipvsd balances IPv4 only")
        } else if let listeners = options.marks[mark] {
            service.listeners += listeners.map(ImportedListener.init)
        } else {
            service.remark(
                .left, place,
                "firewall mark \(mark): ipvsd has no marks, but services with several listeners; name the mark's "
                    + "listeners: --fwmark \(mark)=A.B.C.D:PORT,A.B.C.D:PORT")
        }
    }
}

/// A real server's values in IPVS's words, which ipvsadm and keepalived share.
enum ImportServers {
    static func set(weight: Int, _ server: inout ImportedServer) {
        server.server.weight = UInt16(clamping: weight)
        if weight > 65_535 {
            server.remark(
                .changed, "weight \(weight) becomes 65535, the largest: scale down all weights of the service")
        }
    }

    /// Sets the thresholds. An upper threshold of 0 means none. A lower threshold of 0 means three quarters of the
    /// upper threshold.
    static func set(upper: Int, lower: Int, _ server: inout ImportedServer) {
        let greatest = AddressText.thresholds.upperBound
        guard upper > 0 else {
            if lower > 0 { server.remark(.note, "lower threshold \(lower): it has no effect without an upper one") }
            return
        }
        if upper > greatest {
            server.remark(.note, "upper threshold \(upper) becomes \(greatest), which has the same effect")
        }
        let bound = min(upper, greatest)
        if lower > upper {
            server.remark(
                .changed, "lower threshold \(lower): it is above the upper one, \(upper), which replaces it")
        }
        server.server.thresholds = ConnectionThresholds(
            upper: UInt32(bound), lower: lower == 0 ? nil : UInt32(min(lower, bound)))
    }

    // MARK: Other ways than ipvsd's

    /// A way to real servers other than IPIP, as a line of the source sets it. `isServers` says whether that line is of
    /// one real server, and not of a whole service.
    struct Way {
        let title: String
        let place: SourcePlace
        let isServers: Bool

        func on(_ server: ImportedServer) -> String {
            isServers ? server.server.address.description : "its real servers"
        }
    }

    /// Adds the remark that the tunnel replaces direct routing. The real server already has the VIP and answers clients
    /// directly, and lacks only the tunnel.
    static func replaceGatewaying(_ way: Way, _ service: ImportedService, _ server: inout ImportedServer) {
        let text =
            "\(way.title) (direct routing) becomes the IPIP tunnel: run \(service.setUpCommand) on \(way.on(server)), "
            + "which may then stand behind routers, too"
        server.remarks.append(
            PlacedRemark(.changed, way.place, text, brief: "was routed to directly: needs realserver-setup"))
    }

    static func replaceMasquerading(
        _ way: Way, port: UInt16?, _ service: ImportedService, _ server: inout ImportedServer
    ) {
        let other = service.newPort(insteadOf: port)
        let listening =
            other.map { "listen at \($0), where it was port \(port ?? 0)," }
            ?? "take connections to the VIP, or to any address,"
        let text =
            "\(way.title) (masquerading) becomes the IPIP tunnel: run \(service.setUpCommand) on \(way.on(server)); "
            + "the service there has to \(listening) and its answers go to clients directly, no longer by the director"
        let ports = other.map { " at port \(port ?? 0), not \($0)" } ?? ""
        server.remarks.append(
            PlacedRemark(.changed, way.place, text, brief: "was masqueraded\(ports): needs realserver-setup"))
    }

    static func replaceTunnel(type: String, _ way: Way, _ service: ImportedService, _ server: inout ImportedServer) {
        let text =
            "\(way.title): ipvsd's tunnel is IPIP: run \(service.setUpCommand) on \(way.on(server)), "
            + "which has to take protocol 4 instead of \(type.uppercased())"
        server.remarks.append(
            PlacedRemark(
                .changed, way.place, text, brief: "had a tunnel of \(type.uppercased()): needs realserver-setup"))
    }
}
