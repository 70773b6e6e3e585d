internal import Addresses
internal import Director
internal import FoundationEssentials
internal import HealthChecks
internal import LoadBalancing

/// The director's metrics by Prometheus's conventions: values have base units, and names of counters end in _total.
extension DirectorMetrics {
    func text(version: String) -> String {
        var text = MetricsText()
        text.begin("ipvsd_build_info", .gauge, "Always 1; the program's version.")
        text.add([("version", version)], 1)
        text.begin("ipvsd_start_time_seconds", .gauge, "Start of the daemon, since the epoch.")
        text.add(started.timeIntervalSince1970)
        addPackets(to: &text)
        addServers(to: &text)
        addServices(to: &text)
        addChecks(to: &text)
        addTables(to: &text)
        addEvents(to: &text)
        return text.text
    }

    private func addPackets(to text: inout MetricsText) {
        text.begin("ipvsd_received_packets_total", .counter, "Packets for a VIP.")
        text.add(status.received)
        text.begin("ipvsd_forwarded_packets_total", .counter, "Packets handed to the driver toward a real server.")
        text.add(status.forwarded)
        text.begin(
            "ipvsd_not_forwarded_packets_total", .counter,
            "Packets for a VIP that were passed to the director's own stack, answered or dropped, by reason.")
        for (name, count) in status.reasons.sorted(by: { $0.key < $1.key }) {
            let parts = name.split(separator: "-", maxSplits: 1)
            text.add([("verdict", String(parts[0])), ("reason", String(parts[parts.count - 1]))], count)
        }
        text.begin("ipvsd_packet_events_total", .counter, "Events of packets besides their verdicts.")
        for (name, count) in status.events.sorted(by: { $0.key < $1.key }) { text.add([("event", name)], count) }
        text.begin(
            "ipvsd_stray_packets_total", .counter,
            "Packets for a service that came in by an interface where the XDP program is not.")
        for stray in status.strays ?? [] {
            text.add([("interface", stray.interface), ("vip", stray.vip.description)], stray.packets)
        }
        text.begin("ipvsd_half_open_connections", .gauge, "Connections whose handshake has not completed.")
        text.add(status.halfOpen.now)
        text.begin(
            "ipvsd_half_open_connections_limit", .gauge,
            "The number from which on new ones are not recorded; 0: no limit.")
        text.add(status.halfOpen.limit)
        text.begin(
            "ipvsd_interface_transmit_errors_total", .counter, "Packets that a driver failed to send or dropped.")
        for (name, count) in status.xdp.transmitErrors.sorted(by: { $0.key < $1.key }) {
            text.add([("interface", name)], count)
        }
    }

    private typealias Row = (labels: MetricsText.Labels, server: DirectorStatus.Server)

    /// The rows of all real servers, removed ones with connections included. A real server that was removed and added
    /// again has only its present row.
    private var rows: [Row] {
        status.services.flatMap { service -> [Row] in
            var seen: Set<String> = []
            return service.servers.sorted { $0.health != .removed && $1.health == .removed }.compactMap { server in
                let name = server.address.description
                guard seen.insert(name).inserted else { return nil }
                return ([("service", Self.name(of: service)), ("server", name)], server)
            }
        }
    }

    private static func name(of service: DirectorStatus.Service) -> String {
        service.listeners.first?.address.description ?? ""
    }

    private func addServers(to text: inout MetricsText) {
        let rows = rows
        func add(_ name: String, _ kind: MetricsText.Kind, _ help: String, _ value: (DirectorStatus.Server) -> UInt64?)
        {
            text.begin("ipvsd_server_\(name)", kind, help)
            for row in rows { if let value = value(row.server) { text.add(row.labels, value) } }
        }
        add("packets_total", .counter, "Packets forwarded to the real server.") { $0.packets }
        add("bytes_total", .counter, "Bytes forwarded to the real server, without the tunnel's header.") { $0.bytes }
        add("connections_total", .counter, "Connections scheduled to the real server.") { $0.connections }
        add("active_connections", .gauge, "Established connections, and handshakes under way.") { UInt64($0.active) }
        add("inactive_connections", .gauge, "Closing connections, and UDP flows.") { UInt64($0.inactive) }
        text.begin(
            "ipvsd_server_weight", .gauge,
            "The weight that schedulers use: 0 without new connections, and a part of it in slow start.")
        for row in rows { text.add(row.labels, row.server.effectiveWeight ?? 0) }
        add("up", .gauge, "1: its checks pass, or none has failed yet.") { $0.health == .down ? 0 : 1 }
        add("drained", .gauge, "1: drained by hand.") { $0.drained == nil ? 0 : 1 }
        add("overloaded", .gauge, "1: it has reached its upper threshold.") { $0.overloaded ? 1 : 0 }
        add("state_since_seconds", .gauge, "Time of the last change of its health, since the epoch.") { server in
            server.since.flatMap { try? Date($0, strategy: .iso8601) }.map { UInt64($0.timeIntervalSince1970) }
        }
    }

    private func addServices(to text: inout MetricsText) {
        func add(_ name: String, _ help: String, _ value: (DirectorEvent.Standing) -> Int) {
            text.begin("ipvsd_service_\(name)", .gauge, help)
            for (service, standing) in standings { text.add([("service", service.description)], value(standing)) }
        }
        add("servers", "Configured real servers.") { $0.total }
        add("usable_servers", "Real servers that get new connections.") { $0.up }
        add("usable_weight", "The sum of the usable real servers' weights.") { $0.weight }
        add("quorum", "The least usable weight that the service needs.") { $0.quorum }
    }

    private func addChecks(to text: inout MetricsText) {
        text.begin(
            "ipvsd_check_duration_seconds", .histogram,
            "Duration of checks of a service's real servers, failed ones included.")
        for check in checks {
            text.add(
                Self.labels(check), bounds: CheckStatistics.bounds, counts: check.statistics.counts,
                sum: check.statistics.seconds)
        }
        text.begin("ipvsd_checks_total", .counter, "Checks of a service's real servers, by result.")
        for check in checks {
            text.add(Self.labels(check) + [("result", "success")], check.statistics.succeeded)
            text.add(Self.labels(check) + [("result", "failure")], check.statistics.failed)
        }
    }

    private static func labels(_ check: Check) -> MetricsText.Labels {
        [("service", check.service.description), ("check", check.name)]
    }

    private func addTables(to text: inout MetricsText) {
        text.begin("ipvsd_table_size", .gauge, "Entries that a table of the data plane has room for.")
        for table in tables { text.add([("table", table.name)], table.size) }
        text.begin("ipvsd_table_used", .gauge, "Used entries of a table of the data plane.")
        for table in tables { text.add([("table", table.name)], table.used) }
    }

    private func addEvents(to text: inout MetricsText) {
        text.begin("ipvsd_events_total", .counter, "Events, as 'ipvsd events' shows them.")
        for kind in DirectorEvent.Kind.allCases { text.add([("event", kind.rawValue)], events[kind] ?? 0) }
        text.begin("ipvsd_notification_scripts_total", .counter, "Runs of notify programs, by result.")
        let ends = [
            ("success", scripts.succeeded), ("failure", scripts.failed), ("timeout", scripts.timedOut),
            ("dropped", scripts.dropped),
        ]
        for (end, count) in ends { text.add([("result", end)], count) }
    }
}
