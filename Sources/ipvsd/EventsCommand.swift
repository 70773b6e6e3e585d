import ArgumentParser
import Control
import Director
import FoundationEssentials
import Glibc
import ServiceConfiguration

/// `ipvsd events`: what happened to services and real servers.
struct Events: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show past and new events of services and real servers.",
        discussion: """
            The daemon keeps its last \(EventRing.capacity) events, until it ends. Events:
              \(DirectorEvent.Kind.allCases.map(\.rawValue).joined(separator: " "))

            With --json each is an object on a line of its own. Every key is there; null is what is not known.
              sequence  from 1 on without gaps, since the daemon started
              time      ISO 8601, in milliseconds
              event     see above
              service   the service's first listener
              server    the real server; null of the service's own events
              reason    why, as in the log: of what went down, is held out, is in doubt or was put back
              since     since when it had been otherwise
              up        real servers that count as usable now
              total     real servers that are configured
              weight    the sum of their weights
              quorum    the weight that the service is to have at least
            {"missed":N} instead says that the N events before the next one are no longer kept: the reader was too slow.

            A program that is told of events (\(Options.notify.flagName), or \(Options.notifyMapping.keyName): in the configuration file) has the same in \
            IPVSD_SEQUENCE, IPVSD_TIME, IPVSD_EVENT, IPVSD_SERVICE, IPVSD_SERVER, IPVSD_REASON, IPVSD_SINCE, IPVSD_UP, \
            IPVSD_TOTAL, IPVSD_WEIGHT and IPVSD_QUORUM; what is not known is not set. With \(Options.notifyAtStart.flagName) \
            (\(Options.notifyAtStart.keyName): true) it is also told how a service begins, at the daemon's start and after a reload that adds the service, once \
            the first checks have ended: of each real server that is not unproven whether it is up or down, and of the \
            quorum and the service where they are up, with IPVSD_AT_START=yes. It is executed as it is, without a \
            shell, one event of a service after another, and killed with its process group after its time-out (10 s).

              ipvsd events --follow --json | jq 'select(.event == "server-down")'

            Exit code 3: no daemon runs, or it ended.
            """)

    @Flag(help: "Print JSON, a line for each.")
    var json = false

    @Flag(name: [.short, .long], help: "Go on with those to come.")
    var follow = false

    @Option(
        name: [.customShort("n"), .long],
        help: ArgumentHelp("Begin with this number of kept events.", valueName: "n"))
    var last = EventRing.capacity

    @Option(help: ArgumentHelp("Only those of this service, as A.B.C.D:PORT[/udp].", valueName: "address"))
    var service: String?

    @Option(help: ArgumentHelp("Only those of this real server.", valueName: "address"))
    var server: String?

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            guard last >= 0 else { throw Failure(.badValue, "--last \(last): no number (accepted: 0 and more)") }
            let director = try RunningDirector(common)
            try await director.ask { client in
                try await client.events(follows: follow, last: last, service: service, server: server) { line in
                    print(json ? Self.json(line) : Self.text(line))
                    // A reader such as head(1) that has seen enough is no failure.
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
