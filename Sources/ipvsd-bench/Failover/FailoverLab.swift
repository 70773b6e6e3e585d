import Addresses
import Glibc
import LoadBalancing

/// A lab of network namespaces: client, director and real servers on a switch.
///
///     client 10.0.0.1 ── switch ── director 10.0.0.2
///                          ├─ rs1 10.0.0.11, rs2 10.0.0.12, rs3 10.0.0.13     tunl0 and a web server
final class FailoverLab {
    static let vip = IPv4Address(0x0A00_0064)
    static let client = IPv4Address(0x0A00_0001)
    static let port: UInt16 = 80
    static let servers = (1...3).map { (name: "rs\($0)", address: IPv4Address(0x0A00_000A + UInt32($0))) }
    /// The real server that dies.
    static let victim = servers[1]

    private let namespaces = LabNamespaces()
    private let program: String
    private var webServers: [String: LabProcess] = [:]

    /// Creates the namespaces. `program` is the path of ipvsd.
    init(program: String) throws {
        self.program = program
        Interruption.clean { [namespaces] in Self.tearDown(namespaces, program) }
        do { try setUp() } catch {
            tearDown()
            throw error
        }
    }

    func namespace(_ host: String) -> String { namespaces.name(host) }

    private func setUp() throws {
        let hosts =
            [("client", "10.0.0.1"), ("director", "10.0.0.2")] + Self.servers.map { ($0.name, "\($0.address)") }
        let near = namespace("switch")
        var script = """
            \(namespaces.makeFunction)
            new \(near)
            ip -n \(near) link add near type bridge stp_state 0 mcast_snooping 0 nf_call_iptables 0
            ip -n \(near) link set near up

            """
        for (host, address) in hosts {
            let name = namespace(host)
            script += """
                new \(name)
                ip -n \(near) link add \(host) type veth peer name eth0 netns \(name)
                ip -n \(near) link set \(host) master near up
                ip -n \(name) link set eth0 up
                ip -n \(name) addr add \(address)/24 dev eth0

                """
        }
        // A veth leaves checksums to hardware that is not there, and takes redirected frames only with NAPI.
        script += """
            nsenter --net=/run/netns/\(namespace("client")) -- ethtool -K eth0 tx off >/dev/null
            nsenter --net=/run/netns/\(near) -- ethtool -K director gro on >/dev/null
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
        Interruption.clean(nil)
        for server in webServers.values { server.end(seconds: 1) }
        webServers = [:]
        Self.tearDown(namespaces, program)
    }

    private static func tearDown(_ namespaces: LabNamespaces, _ program: String) {
        namespaces.remove(
            directors: ["director"], servers: servers.map(\.name), others: ["client", "switch"], program: program)
    }
}
