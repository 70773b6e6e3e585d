internal import Addresses
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// The import of the virtual servers of a keepalived.conf. Keywords and defaults are those of keepalived 2.2.7 to 2.4
/// (keepalived.conf(5), keepalived/check).
struct KeepalivedImport {
    let options: Import
    private let notes = KeepalivedNotes()
    var file: ImportedFile
    var groups: [String: KeepalivedGroup] = [:]
    private var vrrpAddresses: [IPAddress: String] = [:]
    /// The first vrrp_instance as remarks name it, or nil if there is none.
    private var instance: String?
    /// The VIPs that a program puts on the director. Each has the place of the line that names the program.
    var programs: [IPAddress: SourcePlace] = [:]
    /// Whether notify_up also runs at the start for real servers that count as up before their first check
    /// (rs_init_notifies).
    var notifiesServersAtStart = false
    /// The line with the user of keepalived's programs, or nil. ipvsd runs programs as its own user.
    var scriptUser: KeepalivedStatement?

    init(_ options: Import, name: String) {
        self.options = options
        file = ImportedFile(name: name)
    }

    private static let comments = [
        "keepalived's defaults are written out: a check every 60 s, 5 s for its answer, one success brings a server up, "
            + "'retry' failures after the first take it out (\(Options.fall.keyName)).",
        "Checks of a service's own ports, and pings, go through the tunnel to the VIP, as clients do; keepalived probes the "
            + "real server's own address (\(Options.via.field(.direct))). A time-out is that of the whole check, "
            + "not of each step.",
        "Where a script's first line of output is a number, that is its weight.",
    ]

    func read(_ text: String) throws(ConfigurationErrors) -> ImportedFile {
        var reader = self
        let lines = try KeepalivedLines(text, name: file.name, options: options)
        let parsed = try KeepalivedStatement.parse(lines.lines, notes)
        reader.file.comments = ["Made by 'ipvsd import' of keepalived's \(file.name)."] + Self.comments
        reader.file.remarks = lines.remarks
        let isVirtualServer = { (statement: KeepalivedStatement) in statement.keyword == "virtual_server" }
        // Virtual servers are read one by one, so that the notes of each stay with it.
        let (others, services) = (parsed.filter { !isVirtualServer($0) }, parsed.filter(isVirtualServer))
        // Groups are read first, since a group may stand below its virtual server.
        for statement in KeepalivedKeywords.root.known(others) { reader.readRoot(statement) }
        reader.file.remarks += notes.popRemarks()
        for service in services {
            for statement in KeepalivedKeywords.root.known([service]) {
                KeepalivedVirtualServer(statement, &reader).add(to: &reader)
            }
        }
        reader.assignAddresses()
        try notes.errors.check()
        return reader.file
    }

    mutating func remark(_ kind: ImportRemark.Kind, _ place: SourcePlace, _ text: String) {
        file.remarks.append(PlacedRemark(kind, place, text))
    }

    // MARK: Blocks beside the virtual servers

    private mutating func readRoot(_ statement: KeepalivedStatement) {
        let place = statement.place
        switch statement.keyword {
        case "virtual_server_group":
            statement.attempt { () throws(InvalidValue) in
                let name = try statement.value("NAME { … }", more: true)
                groups[name] = KeepalivedGroup(statement)
            }
        case "global_defs": KeepalivedGlobals.read(statement, &self)
        case "SSL": readSSL(statement)
        case "vrrp_instance":
            let name = statement.values.first ?? ""
            remark(
                .left, place,
                "vrrp_instance \(name): VRRP stays keepalived's: let it run with this block, and without virtual servers"
            )
            let instance = "keepalived's vrrp_instance \(name)"
            self.instance = self.instance ?? instance
            for block in statement.block ?? [] where block.keyword.hasPrefix("virtual_ipaddress") {
                for line in block.block ?? [] {
                    let text = String(line.keyword.prefix { $0 != "/" })
                    if let address = IPv4Address(text) { vrrpAddresses[.v4(address)] = instance }
                }
            }
        case "vrrp_sync_group", "vrrp_script", "vrrp_track_file", "vrrp_track_process", "garp_group", "track_group",
            "interface_up_down_delays", "linkbeat_interfaces", "linkbeat_use_polling":
            remark(.note, place, "\(statement.title): part of VRRP, which stays keepalived's")
        case "track_file":
            remark(.note, place, "\(statement.title): ipvsd reads such files only by checks of type file")
        case "static_ipaddress", "static_routes", "static_rules":
            remark(.left, place, "\(statement.title): ipvsd does not configure the machine's network")
        case "bfd_instance":
            remark(
                .left, place,
                "\(statement.title): ipvsd has no BFD; \(Options.checkInterval.keyName) sets the interval of its checks"
            )
        case "net_namespace", "net_namespace_ipvs":
            remark(
                .changed, place,
                "\(statement.title): start ipvsd in it: ip netns exec \(statement.values.joined()) ipvsd …")
        default: remark(.note, place, "\(statement.title): keepalived's own")
        }
    }

    /// Reads the SSL block. keepalived verifies no certificate (SSL_VERIFY_NONE), so `ca` has no effect.
    private mutating func readSSL(_ statement: KeepalivedStatement) {
        for line in statement.block ?? [] {
            switch line.keyword {
            case "ca":
                remark(
                    .note, line.place,
                    "SSL ca: keepalived verifies no certificate by it; \(Options.verification.field(.chain)) would")
            default: remark(.left, line.place, "SSL \(line.keyword): ipvsd's checks show no certificate of their own")
            }
        }
    }

    /// Decides whether to leave the VIPs to another program. Otherwise ipvsd would put VIPs on both of two directors,
    /// or restore VIPs that a program has removed.
    private mutating func assignAddresses() {
        let vips = file.services.flatMap { service in service.listeners.map { (service.place, $0.vip) } }
        let other: String
        if let instance = vips.compactMap({ vrrpAddresses[$0.1] }).first {
            file.addressKeeper = "\(instance) has the VIPs"
            other =
                "by \(Options.addresses.field(false)), for VRRP's sake, ipvsd does not put it on the director either"
        } else if let program = programs.min(by: { $0.value < $1.value })?.value {
            file.addressKeeper = "a program has the VIPs (line \(program.line))"
            other =
                "by \(Options.addresses.field(false)), for the sake of other VIPs, ipvsd does not put it on the "
                + "director either"
        } else if let instance {
            file.addressKeeper = "\(instance) implies a second director, which would also have the VIPs"
            other =
                "\(instance) does not have it, but implies a second director: ipvsd does not put it on this one "
                + "(\(Options.addresses.field(false)))"
        } else {
            return
        }
        var seen: Set<IPAddress> = []
        for (place, vip) in vips
        where vrrpAddresses[vip] == nil && programs[vip] == nil && seen.insert(vip).inserted {
            remark(.changed, place, "\(vip): \(other); another program has to")
        }
    }
}

/// The reader of keepalived's global_defs, few of which concern virtual servers.
private enum KeepalivedGlobals {
    static func read(_ statement: KeepalivedStatement, _ reader: inout KeepalivedImport) {
        var kept: [String] = []
        for line in statement.statements where !read(line: line, &reader) { kept.append(line.keyword) }
        guard !kept.isEmpty else { return }
        reader.remark(.note, statement.place, "global_defs: keepalived's own: \(kept.joined(separator: ", "))")
    }

    /// Reads a line. Returns false if its keyword does not concern virtual servers.
    private static func read(line: KeepalivedStatement, _ reader: inout KeepalivedImport) -> Bool {
        let place = line.place
        switch line.keyword {
        case "lvs_timeouts":
            line.attempt { () throws(InvalidValue) in try readTimeouts(line, &reader) }
        case "lvs_sync_daemon":
            reader.remark(
                .left, place,
                "lvs_sync_daemon: ipvsd does not synchronise connections with another director; with the "
                    + "scheduler mh each director chooses the same real servers")
        case "notification_email":
            reader.remark(
                .left, place,
                "notification_email: ipvsd sends no mails; the program of \(Options.notifyMapping.keyName): runs "
                    + "at every event")
        case "smtp_alert", "smtp_alert_checker":
            line.attempt { () throws(InvalidValue) in
                let isOn = try line.flag()
                if isOn { reader.remark(.left, place, KeepalivedRemarks.mails(line)) }
            }
        case "notify_fifo", "notify_fifo_script", "lvs_notify_fifo", "lvs_notify_fifo_script":
            reader.remark(.left, place, "\(line.title): 'ipvsd events --follow --json' prints every event")
        case "script_user": reader.scriptUser = line
        case "startup_script", "shutdown_script":
            reader.remark(.left, place, "\(line.title): ExecStartPre= and ExecStopPost= of the unit run programs")
        case "rs_init_notifies":
            line.attempt { () throws(InvalidValue) in reader.notifiesServersAtStart = try line.flag() }
        default: return false
        }
        return true
    }

    /// Reads `lvs_timeouts [tcp SECONDS] [tcpfin SECONDS] [udp SECONDS]`. A value of 0 leaves the time-out as it is.
    private static func readTimeouts(
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
