/// An option of the director's: a command line that has it, and lines of a configuration file that say the same.
struct DirectorOption: CustomStringConvertible {
    /// The long name.
    var flag: String
    var arguments: [String]
    /// Lines of the file's top level, and of the service.
    var top: [String] = []
    var service: [String] = []
    /// The listeners and real servers, of both sides, where they are not the standard ones.
    var vips = ["10.0.0.100:80"]
    var backends = "10.0.0.11,10.0.0.12"

    var description: String { flag }

    static let all: [DirectorOption] = [
        DirectorOption(flag: "--vip", arguments: ["--vip", "10.0.0.101:53/udp"], vips: ["10.0.0.101:53/udp"]),
        DirectorOption(
            flag: "--backends", arguments: ["--backends", "10.0.0.11=3:1000/800"], backends: "10.0.0.11=3:1000/800"),
        DirectorOption(
            flag: "--u-threshold", arguments: ["-x", "500"], service: ["upper-threshold: 500"]),
        DirectorOption(
            flag: "--l-threshold", arguments: ["--u-threshold", "500", "-y", "400"],
            service: ["upper-threshold: 500", "lower-threshold: 400"]),
        DirectorOption(
            flag: "--maglev-size", arguments: ["--scheduler", "mh", "--maglev-size", "251"],
            service: ["scheduler: mh", "maglev-size: 251"]),
        DirectorOption(flag: "--scheduler", arguments: ["--scheduler", "rr"], service: ["scheduler: rr"]),
        DirectorOption(
            flag: "--sched-flags", arguments: ["--scheduler", "sh", "--sched-flags", "sh-port,sh-fallback"],
            service: ["scheduler: sh", "sched-flags: [sh-port, sh-fallback]"]),
        DirectorOption(
            flag: "--interface", arguments: ["--interface", "eth1,bond0.1"], top: ["interfaces: [eth1, bond0.1]"]),
        DirectorOption(flag: "--xdp", arguments: ["--xdp", "generic"], top: ["xdp: generic"]),
        DirectorOption(flag: "--check", arguments: ["--check", "tcp:8080"], service: ["check: tcp:8080"]),
        DirectorOption(flag: "--check-interval", arguments: ["--check-interval", "5s"], service: ["interval: 5s"]),
        DirectorOption(
            flag: "--check-fast-interval", arguments: ["--check-fast-interval", "0.2s"],
            service: ["fast-interval: 0.2s"]),
        DirectorOption(flag: "--check-timeout", arguments: ["--check-timeout", "0.5s"], service: ["timeout: 0.5s"]),
        DirectorOption(flag: "--rise", arguments: ["--rise", "3"], service: ["rise: 3"]),
        DirectorOption(flag: "--fall", arguments: ["--fall", "4"], service: ["fall: 4"]),
        DirectorOption(
            flag: "--on-server-loss", arguments: ["--on-server-loss", "reset"], service: ["on-server-loss: reset"]),
        DirectorOption(
            flag: "--on-server-removal", arguments: ["--on-server-removal", "finish"],
            service: ["on-server-removal: finish"]),
        DirectorOption(flag: "--inhibit", arguments: ["--inhibit"], service: ["inhibit: true"]),
        DirectorOption(flag: "--slow-start", arguments: ["--slow-start", "30s"], service: ["slow-start: 30s"]),
        DirectorOption(flag: "--flap-damping", arguments: ["--flap-damping", "1m"], service: ["flap-damping: 1m"]),
        DirectorOption(
            flag: "--quorum", arguments: ["--quorum", "2/1"], service: ["quorum: 2", "hysteresis: 1"],
            backends: "10.0.0.11=3,10.0.0.12"),
        DirectorOption(
            flag: "--sorry-server", arguments: ["--sorry-server", "10.0.0.99"], service: ["sorry-server: 10.0.0.99"]),
        DirectorOption(
            flag: "--one-service", arguments: ["--one-service"], vips: ["10.0.0.100:80", "10.0.0.100:443"]),
        DirectorOption(flag: "--persistent", arguments: ["--persistent", "5m"], service: ["persistence: 5m"]),
        DirectorOption(
            flag: "--persistent-netmask", arguments: ["--persistent", "5m", "--persistent-netmask", "255.255.255.0"],
            service: ["persistence: {timeout: 5m, netmask: 24}"]),
        DirectorOption(
            flag: "--one-packet", arguments: ["--one-packet"], service: ["one-packet: true"],
            vips: ["10.0.0.100:53/udp"]),
        DirectorOption(flag: "--connections", arguments: ["--connections", "5000"], top: ["connections: 5000"]),
        DirectorOption(flag: "--tcp-timeout", arguments: ["--tcp-timeout", "10m"], top: ["timeouts: {tcp: 10m}"]),
        DirectorOption(
            flag: "--tcp-fin-timeout", arguments: ["--tcp-fin-timeout", "1m"], top: ["timeouts: {tcp-fin: 1m}"]),
        DirectorOption(flag: "--udp-timeout", arguments: ["--udp-timeout", "1m"], top: ["timeouts: {udp: 1m}"]),
        DirectorOption(flag: "--half-open-limit", arguments: ["--half-open-limit", "0"], top: ["half-open-limit: 0"]),
        DirectorOption(flag: "--no-syn-watch", arguments: ["--no-syn-watch"], top: ["syn-watch: false"]),
        DirectorOption(flag: "--no-address", arguments: ["--no-address"], top: ["addresses: false"]),
        DirectorOption(
            flag: "--outer-source-prefix", arguments: ["--outer-source-prefix", "172.16.0.0/16"],
            top: ["outer-source-prefix: 172.16.0.0/16"]),
        DirectorOption(flag: "--notify", arguments: ["--notify", "/bin/true"], service: ["notify: /bin/true"]),
        DirectorOption(
            flag: "--notify-at-start", arguments: ["--notify", "/bin/true", "--notify-at-start"],
            service: ["notify: {command: /bin/true, at-start: true}"]),
        DirectorOption(
            flag: "--metrics-listen", arguments: ["--metrics-listen", "127.0.0.1:9104"],
            top: ["metrics-listen: 127.0.0.1:9104"]),
        DirectorOption(flag: "--log-format", arguments: ["--log-format", "json"], top: ["log-format: json"]),
    ]

    /// The flags that say something of the configuration, by the command line itself.
    static func names() throws -> [String] { try arguments().compactMap(\.longName) }

    /// The same with all that ArgumentParser says of them.
    static func arguments() throws -> [CommandDump.Argument] {
        let others = ["--config", "--replace", "--instance", "--verbose", "--version", "--help"]
        let director = try CommandDump.read().command.subcommands?.first { $0.commandName == "director" }
        return (director?.arguments ?? []).filter { argument in
            argument.longName.map { !others.contains($0) } ?? false
        }
    }

    /// A whole command line of the director.
    var commandLine: [String] {
        (flag == "--vip" ? [] : vips.flatMap { ["--vip", $0] })
            + (flag == "--backends" ? [] : ["--backends", backends]) + arguments
    }

    /// A whole configuration file.
    var file: String {
        let service =
            ["listeners: [\(vips.joined(separator: ", "))]", "servers: [\(backends)]"] + self.service
        return (top + ["services: [{\(service.joined(separator: ", "))}]"]).joined(separator: "\n")
    }
}
