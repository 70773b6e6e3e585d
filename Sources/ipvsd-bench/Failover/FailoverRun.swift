import Glibc
import LoadBalancing
import Synchronization

/// A way in which the victim dies.
enum FailoverCase: String, CaseIterable, Sendable {
    case process = "process killed"
    case host = "host cut off"
    case tunnel = "tunl0 down"
    case firewall = "firewall drops all"

    /// The name on the command line.
    var key: String { "\(self)" }

    /// Whether the client gets neither a SYN-ACK nor a reset any more.
    var isSilent: Bool { self != .process }

    /// Lets the victim die.
    func strike(_ lab: FailoverLab) throws {
        let name = FailoverLab.victim.name
        switch self {
        case .process: lab.killWebServer(of: name)
        case .host: try lab.inNamespace("switch", "ip link set \(name) down")
        case .tunnel: try lab.inNamespace(name, "ip link set tunl0 down")
        case .firewall:
            try lab.inNamespace(
                name,
                """
                nft add table ip hole
                nft add chain ip hole drops "{ type filter hook prerouting priority -300; policy drop; }"
                """)
        }
    }
}

/// The measurement of one death of the victim under load.
struct FailoverRun {
    struct Plan: Sendable {
        /// Requests a second.
        var rate: Int
        /// Seconds of load before the death.
        var before: Int
        /// Seconds of load after the death.
        var after: Int
        var downloads: Int
    }

    struct Figures: Sendable, Encodable {
        var death: String
        var settings: String
        var requests: Int
        var failed: Int
        var failures: [String: Int]
        /// The number of failed requests whose handshake with the victim was complete before its death. No director can
        /// save them.
        var cutOff: Int
        /// The number of failed requests whose first SYN did not go to the victim, or which failed before its death.
        var failedElsewhere: Int
        /// The seconds that the slowest answered request took.
        var slowest: Double
        /// The number of answered requests that took longer than 0.9 s, which shows that a SYN was lost.
        var late: Int
        /// The seconds from the death until the victim was out of service; nil: this did not happen within the run.
        var ejection: Double?
        /// The seconds from the death until the last SYN to the victim; nil: there was no SYN.
        var lastSYN: Double?
        /// The seconds from the death until the last packet to the victim; nil: there was no packet.
        var lastPacket: Double?
        /// The number of downloads through other servers.
        var downloads: Int
        /// The faults of these downloads.
        var disturbed: [String]
    }

    let death: FailoverCase
    let settings: FailoverSettings
    let plan: Plan
    let ipvsd: String

    func measure() throws -> Figures {
        let lab = try FailoverLab(program: ipvsd)
        defer { lab.tearDown() }
        let director = try settings.start(in: lab, ipvsd: ipvsd)
        defer {
            director.end()
            settings.removeFiles()
        }
        try awaitService(lab, director)
        // After this time all real servers have been checked.
        usleep(3_000_000)

        let watch = PacketWatch(client: FailoverLab.client)
        let watcher = try NamespaceThread(namespace: lab.namespace("switch")) { watch.run(interface: "director") }
        let downloads = (0..<plan.downloads).map { _ in Download() }
        let downloading = try downloads.map { download in
            try NamespaceThread(namespace: lab.namespace("client")) {
                download.run(vip: FailoverLab.vip, port: FailoverLab.port)
            }
        }
        let start = nanoseconds() + 100_000_000
        let requests = Mutex<[RequestRecord]>([])
        let plan = plan
        let client = try client(of: lab) { client in
            let all = client.run(count: plan.rate * (plan.before + plan.after), from: start)
            requests.withLock { $0 = all }
        }
        while nanoseconds() < start + UInt64(plan.before) * 1_000_000_000 { usleep(1000) }
        let raised = nanoseconds()
        try death.strike(lab)
        // A command of `strike` takes effect when it ends, so the death counts from here on.
        let died = nanoseconds()
        client.join()
        for download in downloads { download.stop() }
        for thread in downloading { thread.join() }
        let seen = watch.stop()
        watcher.join()
        return figures(
            raised: raised, died: died, requests: requests.withLock { $0 }, seen: seen,
            downloads: downloads.map(\.report),
            log: director.lines)
    }

    private func client(
        of lab: FailoverLab, _ body: @escaping @Sendable (LoadGenerator) -> Void
    ) throws -> NamespaceThread {
        let rate = plan.rate
        return try NamespaceThread(namespace: lab.namespace("client")) {
            do {
                body(try LoadGenerator(vip: FailoverLab.vip, port: FailoverLab.port, rate: rate))
            } catch {
                print(error)
            }
        }
    }

    /// Waits until each real server answers requests.
    private func awaitService(_ lab: FailoverLab, _ director: LabProcess) throws {
        for _ in 0..<100 {
            let names = Mutex<Set<String>>([])
            try client(of: lab) { client in
                let answers = client.run(count: 3 * FailoverLab.servers.count, from: nanoseconds())
                names.withLock { $0 = Set(answers.filter(\.isAnswered).map(\.server)) }
            }.join()
            if names.withLock({ $0.count }) == FailoverLab.servers.count { return }
            usleep(200_000)
        }
        throw Failure("\(settings.program) does not serve:\n\(director.text)")
    }

    private func figures(
        raised: UInt64, died: UInt64, requests: [RequestRecord], seen: PacketWatch.Seen, downloads: [Download.Report],
        log: [LabProcess.Line]
    ) -> Figures {
        func since(_ time: UInt64?) -> Double? { time.map { $0 > died ? Double($0 - died) / 1e9 : 0 } }
        let victim = FailoverLab.victim
        let failed = requests.filter { !$0.isAnswered }
        let elsewhere = failed.filter { seen.connection(of: $0)?.first != victim.address || $0.ended < raised }
        let cutOff = failed.filter {
            (1...died).contains($0.connected) && seen.connection(of: $0)?.last == victim.address
        }
        let answered = requests.filter(\.isAnswered).map(\.seconds)
        let others = downloads.filter { $0.server != victim.name }
        return Figures(
            death: death.rawValue, settings: settings.name, requests: requests.count, failed: failed.count,
            failures: Dictionary(failed.map { ($0.outcome.rawValue, 1) }, uniquingKeysWith: +),
            cutOff: cutOff.count, failedElsewhere: elsewhere.count, slowest: answered.max() ?? 0,
            late: answered.filter { $0 > 0.9 }.count,
            ejection: since(log.first { $0.time > raised && settings.isEjection($0.text) }?.time),
            lastSYN: since(seen.lastSYN[victim.address]),
            lastPacket: since(seen.lastPacket[victim.address]),
            downloads: others.count,
            disturbed: others.filter { $0.fault != nil || $0.bytes == 0 }.map {
                "\($0.server): \($0.fault ?? "no data")"
            })
    }
}
