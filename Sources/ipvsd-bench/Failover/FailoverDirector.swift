import Addresses
import Glibc
import LoadBalancing
import ServiceConfiguration

/// A balancer with its settings, which decide how fast it notices a real server's death.
struct FailoverSettings: Sendable {
    enum Program: String, Sendable { case ipvsd, keepalived }

    var name: String
    var program: Program
    /// The flags of ipvsd.
    var flags: [String] = []

    static let all = [
        FailoverSettings(name: "default", program: .ipvsd),
        FailoverSettings(name: "fast", program: .ipvsd, flags: pace(.milliseconds(200))),
        // These are the settings of keepalived below: one check a second, one second for an answer, and out of service
        // after the second failure.
        FailoverSettings(name: "equal", program: .ipvsd, flags: pace(.seconds(1))),
        FailoverSettings(name: "keepalived", program: .keepalived),
    ]

    /// Returns flags for checks at an interval, which is also the checks' time-out.
    private static func pace(_ interval: Duration) -> [String] {
        Options.checkInterval.arguments(interval) + Options.checkTimeout.arguments(interval)
    }

    /// Whether the line of the log reports that the victim is out of service.
    func isEjection(_ line: String) -> Bool {
        let address = "\(FailoverLab.victim.address)"
        switch program {
        case .ipvsd: return line.contains("real server \(address) of") && line.contains(" is down")
        case .keepalived: return line.contains("Removing service [\(address)]")
        }
    }

    /// Starts the balancer in the lab.
    func start(in lab: FailoverLab, ipvsd: String) throws -> LabProcess {
        switch program {
        case .ipvsd:
            let listener = ServiceAddress(vip: .v4(FailoverLab.vip), port: FailoverLab.port, transport: .tcp)
            let servers = FailoverLab.servers.map { "\($0.address)" }.joined(separator: ",")
            return try LabProcess(
                namespace: lab.namespace("director"),
                [ipvsd] + Options.listeners.arguments(listener) + [Options.servers.flagName, servers]
                    + Options.scheduler.arguments(.rr) + flags)
        case .keepalived:
            try Tool.run(
                """
                cat >'\(configurationFile)' <<'END'
                \(keepalivedConfiguration)
                END
                """)
            try lab.inNamespace("director", "ip addr add \(FailoverLab.vip)/32 dev eth0")
            return try LabProcess(
                namespace: lab.namespace("director"),
                [
                    "keepalived", "-n", "-l", "-D", "-C", "-f", configurationFile, "-p", "\(configurationFile).pid",
                    "-c",
                    "\(configurationFile).checkers.pid",
                ])
        }
    }

    func removeFiles() {
        guard program == .keepalived else { return }
        for suffix in ["", ".pid", ".checkers.pid"] { unlink(configurationFile + suffix) }
    }

    private var configurationFile: String { "/tmp/ipvsd-bench-\(getpid())-keepalived.conf" }

    private var keepalivedConfiguration: String {
        let servers = FailoverLab.servers.map { server in
            """
                real_server \(server.address) \(FailoverLab.port) {
                    weight 1
                    TCP_CHECK {
                        connect_timeout 1
                        retry 1
                        delay_before_retry 1
                    }
                }
            """
        }
        return """
            global_defs {
                script_user root
            }
            virtual_server \(FailoverLab.vip) \(FailoverLab.port) {
                delay_loop 1
                lb_algo rr
                lb_kind TUN
                protocol TCP
            \(servers.joined(separator: "\n"))
            }
            """
    }
}
