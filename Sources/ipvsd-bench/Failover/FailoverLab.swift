import Glibc
import LoadBalancing

/// Client, director and real servers on a switch, each a network namespace.
///
///     client 10.0.0.1 ── switch ── director 10.0.0.2
///                          ├─ rs1 10.0.0.11, rs2 10.0.0.12, rs3 10.0.0.13     tunl0 and a web server
final class FailoverLab {
    static let vip = IPv4Address(0x0A00_0064)
    static let client = IPv4Address(0x0A00_0001)
    static let port: UInt16 = 80
    static let servers = (1...3).map { (name: "rs\($0)", address: IPv4Address(0x0A00_000A + UInt32($0))) }
    /// The one that dies.
    static let victim = servers[1]

    private let prefix: String
    private let program: String
    private var webServers: [String: LabProcess] = [:]

    /// `program` is ipvsd.
    init(program: String) throws {
        self.program = program
        prefix = "ipvsd-bench-\(getpid())"
        do { try setUp() } catch {
            tearDown()
            throw error
        }
    }

    func namespace(_ host: String) -> String { "\(prefix)-\(host)" }

    private func setUp() throws {
        let hosts =
            [("client", "10.0.0.1"), ("director", "10.0.0.2")] + Self.servers.map { ($0.name, "\($0.address)") }
        var script = """
            new() {
                ip netns add $1
                nsenter --net=/run/netns/$1 -- sysctl -qw net.ipv6.conf.all.disable_ipv6=1 \\
                    net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
                ip -n $1 link set lo up
            }
            new \(prefix)-switch
            ip -n \(prefix)-switch link add near type bridge stp_state 0 mcast_snooping 0 nf_call_iptables 0
            ip -n \(prefix)-switch link set near up

            """
        for (host, address) in hosts {
            script += """
                new \(prefix)-\(host)
                ip -n \(prefix)-switch link add \(host) type veth peer name eth0 netns \(prefix)-\(host)
                ip -n \(prefix)-switch link set \(host) master near up
                ip -n \(prefix)-\(host) link set eth0 up
                ip -n \(prefix)-\(host) addr add \(address)/24 dev eth0

                """
        }
        // A veth leaves checksums to hardware that is not there, and takes redirected frames only with NAPI.
        script += """
            nsenter --net=/run/netns/\(prefix)-client -- ethtool -K eth0 tx off >/dev/null
            nsenter --net=/run/netns/\(prefix)-switch -- ethtool -K director gro on >/dev/null
            """
        try Tool.run(script)
        for server in Self.servers {
            try Tool.run(
                """
                nsenter --net=/run/netns/\(namespace(server.name)) -- \
                '\(program)' realserver-setup --vip \(Self.vip) >/dev/null 2>&1
                """)
            webServers[server.name] = try LabProcess(
                namespace: namespace(server.name), [Tool.ownPath, "serve", "--name", server.name])
        }
        for server in Self.servers { try awaitWebServer(server.name) }
    }

    private func awaitWebServer(_ name: String) throws {
        for _ in 0..<1000 {
            let table = Tool.output(
                ["nsenter", "--net=/run/netns/\(namespace(name))", "--", "ss", "-Hltn", "sport = :\(Self.port)"])
            if table.contains("LISTEN") { return }
            usleep(20_000)
        }
        throw Failure("the web server of \(name) does not listen: \(webServers[name]?.text ?? "")")
    }

    func killWebServer(of name: String) { webServers[name]?.kill() }

    func inNamespace(_ host: String, _ script: String) throws {
        try Tool.run("nsenter --net=/run/netns/\(namespace(host)) -- sh -ec '\(script)'")
    }

    func tearDown() {
        for server in webServers.values { server.end(seconds: 1) }
        webServers = [:]
        let hosts = Self.servers.map(\.name) + ["director", "client", "switch"]
        let lines =
            Self.servers.map {
                "nsenter --net=/run/netns/\(namespace($0.name)) -- '\(program)' realserver-setup --undo"
            } + hosts.map { "ip netns del \(namespace($0))" }
        try? Tool.run(lines.map { "\($0) >/dev/null 2>&1 || true" }.joined(separator: "\n"))
    }
}
