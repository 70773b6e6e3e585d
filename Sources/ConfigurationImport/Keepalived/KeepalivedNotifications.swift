internal import Addresses
internal import LoadBalancing
internal import ServiceConfiguration

/// The programs that keepalived runs at changes of real servers and the quorum. ipvsd runs one program for all events
/// of a service, so that program is a shell that chooses keepalived's.
struct KeepalivedNotifications {
    private struct Notification {
        var event: String
        /// The real server, or nil for the quorum's programs.
        var server: IPAddress?
        var command: [String]
        var place: SourcePlace
    }

    /// The program's time-out. keepalived has none, but in ipvsd later events of the service wait for the program.
    static let timeout = Duration.seconds(60)
    private static let events = [
        "notify_up": "server-up", "notify_down": "server-down", "quorum_up": "quorum-regained",
        "quorum_down": "quorum-lost",
    ]

    private var notifications: [Notification] = []
    private(set) var remarks: [PlacedRemark] = []

    mutating func read(_ statement: KeepalivedStatement, of server: IPAddress?) throws(InvalidValue) {
        let (command, user) = try KeepalivedCommand.command(of: statement)
        guard let program = command.first, KeepalivedCommand.isProgram(program), !command.joined().utf8.contains(0)
        else {
            remarks.append(
                PlacedRemark(.left, statement.place, "\(statement.title): \(KeepalivedCommand.noProgram)"))
            return
        }
        if let user {
            remarks.append(
                PlacedRemark(
                    .changed, statement.place,
                    "\(statement.keyword) as \(user): ipvsd runs programs as the user that it runs "
                        + "as itself"))
        }
        guard let event = Self.events[statement.keyword] else { return }
        notifications.append(Notification(event: event, server: server, command: command, place: statement.place))
    }

    mutating func add(_ other: KeepalivedNotifications) {
        notifications += other.notifications
        remarks += other.remarks
    }

    var programs: [(path: String, place: SourcePlace)] {
        notifications.compactMap { notification in notification.command.first.map { ($0, notification.place) } }
    }

    /// The programs of the quorum that may add or announce the VIP. Programs that only log are left out.
    var quorumPrograms: [(command: [String], place: SourcePlace)] {
        notifications.filter { notification in
            notification.server == nil
                && !["logger", "echo"].contains(notification.command[0].split(separator: "/").last)
        }.map { ($0.command, $0.place) }
    }

    /// Returns the service's notification program, or nil if keepalived has no programs. At its start keepalived runs
    /// quorum_up, and runs notify_up only for the real servers in `announced`.
    func notification(of servers: [IPAddress], announced: Set<IPAddress>) -> NotificationScript? {
        guard !notifications.isEmpty else { return nil }
        let upwards = notifications.filter { $0.event == "server-up" }.compactMap(\.server)
        let unannounced = upwards.filter { !announced.contains($0) }
        let tellsAtStart = notifications.contains { $0.event == "quorum-regained" } || unannounced.count < upwards.count
        var lines: [String] = []
        if tellsAtStart, !unannounced.isEmpty {
            let patterns =
                unannounced.count == upwards.count
                ? "\"yes server-up \"*" : unannounced.map { "\"yes server-up \($0)\"" }.joined(separator: "|")
            lines.append("case \"$IPVSD_AT_START $IPVSD_EVENT $IPVSD_SERVER\" in \(patterns)) exit 0 ;; esac")
        }
        lines.append("case \"$IPVSD_EVENT $IPVSD_SERVER\" in")
        for event in ["server-up", "server-down", "quorum-regained", "quorum-lost"] {
            let own = notifications.filter { $0.event == event }
            guard let first = own.first else { continue }
            // One line is enough if all real servers have the same command.
            if first.server == nil
                || (own.allSatisfy { $0.command == first.command }
                    && Set(own.map(\.server)).count == Set(servers).count)
            {
                lines.append(Self.line("\"\(event) \"*", first.command))
            } else {
                var seen: Set<IPAddress> = []
                for notification in own {
                    guard let server = notification.server, seen.insert(server).inserted else { continue }
                    lines.append(Self.line("\"\(event) \(server)\"", notification.command))
                }
            }
        }
        lines.append("esac")
        return NotificationScript(
            command: ["/bin/sh", "-c", lines.map { $0 + "\n" }.joined()], timeout: Self.timeout,
            tellsAtStart: tellsAtStart)
    }

    private static func line(_ pattern: String, _ command: [String]) -> String {
        "\(pattern)) exec \(command.map(shellWord).joined(separator: " ")) ;;"
    }

    /// Returns the text, in single quotes if it is empty or has characters with a meaning in a shell.
    static func shellWord(_ text: String) -> String {
        let isPlain =
            !text.isEmpty
            && text.utf8.allSatisfy {
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
                    || "_./:=,@%+-".utf8.contains($0)
            }
        return isPlain
            ? text : "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
    }
}
