internal import LoadBalancing
internal import ServiceConfiguration

/// keepalived's global_defs: little of it is about virtual servers.
enum KeepalivedGlobals {
    static func take(_ statement: KeepalivedStatement, _ reader: inout KeepalivedImport) {
        var kept: [String] = []
        for line in statement.statements where !take(line: line, &reader) { kept.append(line.keyword) }
        guard !kept.isEmpty else { return }
        reader.remark(.note, statement.place, "global_defs: keepalived's own: \(kept.joined(separator: ", "))")
    }

    /// False: it says nothing of virtual servers.
    private static func take(line: KeepalivedStatement, _ reader: inout KeepalivedImport) -> Bool {
        let place = line.place
        switch line.keyword {
        case "lvs_timeouts":
            line.attempt { () throws(InvalidValue) in try takeTimeouts(line, &reader) }
        case "lvs_sync_daemon":
            reader.remark(
                .left, place,
                "lvs_sync_daemon: ipvsd does not synchronise connections with another director; with the "
                    + "scheduler mh each director chooses the same real servers")
        case "notification_email":
            reader.remark(
                .left, place,
                "notification_email: ipvsd sends no mails; a program at \(Options.notifyMapping.keyName): is told of "
                    + "every event")
        case "smtp_alert", "smtp_alert_checker":
            line.attempt { () throws(InvalidValue) in
                let isOn = try line.flag()
                if isOn { reader.remark(.left, place, KeepalivedRemarks.mails(line)) }
            }
        case "notify_fifo", "notify_fifo_script", "lvs_notify_fifo", "lvs_notify_fifo_script":
            reader.remark(.left, place, "\(line.title): 'ipvsd events --follow --json' tells of every event")
        case "script_user": reader.scriptUser = line
        case "startup_script", "shutdown_script":
            reader.remark(.left, place, "\(line.title): ExecStartPre= and ExecStopPost= of the unit run programs")
        case "rs_init_notifies":
            line.attempt { () throws(InvalidValue) in reader.tellsServersAtStart = try line.flag() }
        default: return false
        }
        return true
    }

    /// `lvs_timeouts [tcp SECONDS] [tcpfin SECONDS] [udp SECONDS]`; 0 leaves one as it is.
    private static func takeTimeouts(
        _ line: KeepalivedStatement, _ reader: inout KeepalivedImport
    ) throws(InvalidValue) {
        var timeouts = reader.file.timeouts ?? Timeouts()
        var rest = line.values
        while let name = rest.popFirst() {
            let paths: [String: WritableKeyPath<Timeouts, Int>] = ["tcp": \.tcp, "tcpfin": \.tcpFin, "udp": \.udp]
            line.attempt { () throws(InvalidValue) in
                guard let path = paths[name], let text = rest.popFirst() else {
                    throw InvalidValue(
                        "lvs_timeouts \(name)", accepted: "lvs_timeouts tcp N tcpfin N udp N, in seconds")
                }
                let seconds = try line.number(text, in: 0...2_678_400, called: "number of seconds", isExact: true)
                guard seconds > 0 else { return }
                timeouts[keyPath: path] = min(seconds, Timeouts.range.upperBound)
                if seconds > Timeouts.range.upperBound {
                    reader.remark(
                        .changed, line.place,
                        "lvs_timeouts \(name) \(seconds) becomes \(Timeouts.range.upperBound), the longest")
                }
            }
        }
        reader.file.timeouts = timeouts
    }
}
