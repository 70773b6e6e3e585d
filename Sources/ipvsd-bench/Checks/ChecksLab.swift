import Addresses
import CLinux
import Glibc
import LoadBalancing
import ServiceConfiguration
import Synchronization

/// The network namespaces of a director and of one host that stands for many real servers. There all addresses of
/// 10.64.0.0/12 are local.
///
///     director 10.0.0.2 ── servers 10.0.0.3     VIP 10.0.0.100 on tunl0, one listener
final class ChecksLab {
    static let vip = IPv4Address(0x0A00_0064)
    static let director = IPv4Address(0x0A00_0002)
    static let port: UInt16 = 80

    let configurationFile: String
    private let namespaces = LabNamespaces()
    private let program: String

    /// Creates the namespaces. `program` is the path of ipvsd.
    init(program: String, servers: Int, interval: Int) throws {
        self.program = program
        configurationFile = "/tmp/\(namespaces.name("checks")).yaml"
        Interruption.clean { [namespaces, configurationFile] in
            Self.tearDown(namespaces, program, configurationFile)
        }
        do {
            try setUp()
            try configure(servers: servers, interval: interval)
        } catch {
            tearDown()
            throw error
        }
    }

    func namespace(_ host: String) -> String { namespaces.name(host) }

    private func setUp() throws {
        let (director, servers) = (namespace("director"), namespace("servers"))
        try Tool.run(
            """
            \(namespaces.makeFunction)
            new \(director)
            new \(servers)
            ip -n \(director) link add eth0 type veth peer name eth0 netns \(servers)
            ip -n \(director) addr add \(Self.director)/24 dev eth0
            ip -n \(servers) addr add 10.0.0.3/24 dev eth0
            for name in \(director) \(servers); do ip -n $name link set eth0 up; done
            ip -n \(servers) route add local 10.64.0.0/12 dev lo
            ip -n \(director) route add 10.64.0.0/12 via 10.0.0.3
            nsenter --net=/run/netns/\(servers) -- ethtool -K eth0 gro on >/dev/null
            nsenter --net=/run/netns/\(servers) -- '\(program)' realserver-setup --vip \(Self.vip) --interface eth0 \\
                >/dev/null 2>&1
            """)
    }

    private func configure(servers: Int, interval: Int) throws {
        let addresses = (0..<UInt32(servers)).map { "\(IPv4Address(0x0A40_0001 + $0))" }
        let listener = ServiceAddress(vip: .v4(Self.vip), port: Self.port, transport: .tcp)
        let text = """
            \(Options.defaults.keyName):
              \(Options.scheduler.field(.rr))
              \(Options.checkInterval.field(.seconds(interval)))
              \(Options.checkTimeout.field(.seconds(1)))
            \(Options.serviceList.keyName):
              - \(Options.listeners.field(listener))
                \(Options.servers.keyName): [\(addresses.joined(separator: ", "))]

            """
        guard let file = fopen(configurationFile, "w") else {
            throw Failure("write \(configurationFile): \(errorText())")
        }
        fputs(text, file)
        fclose(file)
    }

    func startDirector() throws -> LabProcess {
        try LabProcess(namespace: namespace("director"), [program, "--config", configurationFile])
    }

    /// Returns the output of `ipvsd WORDS` in the director's namespace.
    func ipvsd(_ words: String...) -> String {
        Tool.output(["nsenter", "--net=/run/netns/\(namespace("director"))", "--", program] + words)
    }

    func tearDown() {
        Interruption.clean(nil)
        Self.tearDown(namespaces, program, configurationFile)
    }

    private static func tearDown(_ namespaces: LabNamespaces, _ program: String, _ file: String) {
        namespaces.remove(directors: ["director"], servers: ["servers"], program: program)
        unlink(file)
    }
}

/// The listener of all checks. It accepts connections, closes and counts them.
final class CheckedListener: Sendable {
    private let taken = Atomic(0)
    private let isOver = Atomic(false)

    var count: Int { taken.load(ordering: .relaxed) }

    func stop() { isOver.store(true, ordering: .relaxed) }

    func run(port: UInt16) {
        guard let listener = try? WebServer.listen(port: port) else { return }
        defer { close(listener) }
        var ready = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
        while !isOver.load(ordering: .relaxed) {
            poll(&ready, 1, 100)
            while case let descriptor = clinux_accept(listener), descriptor >= 0 {
                close(descriptor)
                taken.add(1, ordering: .relaxed)
            }
        }
    }
}
