import ArgumentParser
import Control
import Director
import FoundationEssentials
import Glibc
import ServiceConfiguration

/// `ipvsd events`: past and new events of services and real servers.
struct Events: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show past and new events of services and real servers.",
        discussion: """
            The daemon keeps its last \(EventRing.capacity) events, until it ends. Events:
              \(DirectorEvent.Kind.allCases.map(\.rawValue).joined(separator: " "))

            With --json each event is an object on a line. Every key is there; an unknown value is null.
              sequence  from 1 on without gaps, since the daemon started
              time      ISO 8601, in milliseconds
              event     see above
              service   the service's first listener
              server    the real server; null in an event of the whole service
              reason    why a real server is down, held out or in doubt, or why it was put back
              since     the beginning of the state before
              up        the number of usable real servers
              total     the number of configured real servers
              weight    the sum of the usable weights
              quorum    the least weight that the service needs
            A line {"missed":N} instead means that the N events before the next one are no longer kept.

            A notify program (\(Options.notify.flagName), or \(Options.notifyMapping.keyName): in the configuration file) \
            has the same in IPVSD_SEQUENCE, IPVSD_TIME, IPVSD_EVENT, IPVSD_SERVICE, IPVSD_SERVER, IPVSD_REASON, \
            IPVSD_SINCE, IPVSD_UP, IPVSD_TOTAL, IPVSD_WEIGHT and IPVSD_QUORUM. A variable without a known value is not \
            set. With \(Options.notifyAtStart.flagName) (\(Options.notifyAtStart.keyName): true) it also gets the first state \
            of a service, with IPVSD_AT_START=yes: after the daemon's start, and after a reload that adds the service, once \
            the first checks have ended. This is an event for each real server that is up or down, and for the quorum and \
            the service where they are up. The program runs without a shell, for one event of a service at a time. It is \
            killed with its process group after its time-out (10 s).

              ipvsd events --follow --json | jq 'select(.event == "server-down")'

            Exit code 3: no daemon runs, or it ended.
            """)

    @Flag(help: "Print JSON, a line for each event.")
    var json = false

    @Flag(name: [.short, .long], help: "Go on with new events.")
    var follow = false

    @Option(
        name: [.customShort("n"), .long],
        help: ArgumentHelp("Begin with this number of kept events.", valueName: "n"))
    var last = EventRing.capacity

    @Option(help: ArgumentHelp("Only events of this service, as A.B.C.D:PORT[/udp].", valueName: "address"))
    var service: String?

    @Option(help: ArgumentHelp("Only events of this real server.", valueName: "address"))
    var server: String?

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            guard last >= 0 else { throw Failure(.badValue, "--last \(last): no number (accepted: 0 and more)") }
            let director = try RunningDirector(common)
            try await director.ask { client in
                try await client.events(follows: follow, last: last, service: service, server: server) { line in
                    print(json ? Self.json(line) : Self.text(line))
                    // A reader such as head(1) may end first, which is not a failure.
                    if fflush(nil) != 0, errno == EPIPE { throw ExitCode.success }
                }
            }
            if follow { throw Failure(.noDaemon, "the director has ended") }
        }
    }

    static func json(_ line: EventLine) -> String {
        switch line {
        case .event(_, let json): json
        case .missed(let count): "{\"missed\":\(count)}"
        }
    }

    private static func text(_ line: EventLine) -> String {
        switch line {
        case .missed(let count): "(\(count) events before the next one are no longer kept)"
        case .event(let event, _):
            [
                event.time.formatted(.iso8601), event.kind.rawValue.padded(to: 16), "\(event.service)",
                event.server.map { "\($0)" } ?? "-",
                "\(event.standing.up)/\(event.standing.total) up, weight \(event.standing.weight), quorum \(event.standing.quorum)",
            ].joined(separator: " ") + (event.reason.map { ": \($0)" } ?? "")
        }
    }
}
