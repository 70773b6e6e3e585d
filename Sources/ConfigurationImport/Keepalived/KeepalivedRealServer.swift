internal import Addresses
internal import LoadBalancing
internal import ServiceConfiguration

/// A real_server block.
struct KeepalivedRealServer {
    let place: SourcePlace
    private(set) var address = "?"
    /// The real server, or nil if ipvsd cannot have it.
    private(set) var imported: ImportedServer?
    private(set) var inhibits: Bool?
    private(set) var checks: [ImportedCheck] = []
    /// Whether keepalived checks the real server.
    private(set) var hasCheckers = false
    /// Whether keepalived holds the real server down until a check has passed (alpha).
    private(set) var startsDown = false
    private(set) var notifications = KeepalivedNotifications()
    /// The programs of checks.
    private(set) var programs: [(path: String, place: SourcePlace)] = []
    /// The remarks that are not in `imported`.
    private(set) var remarks: [PlacedRemark] = []

    private var pace = KeepalivedPace()
    private var forwarding: KeepalivedForwarding?
    private var virtualHost: String?
    private var weight: Int?
    private var isAlpha: Bool?
    private var upper = 0
    private var lower = 0

    init(
        _ statement: KeepalivedStatement, of parent: KeepalivedVirtualServer, _ reader: inout KeepalivedImport
    ) throws(InvalidValue) {
        place = statement.place
        let text = try statement.value("A.B.C.D [PORT]", more: true)
        statement.endsBehind(2)
        let port = try KeepalivedAddresses.port(statement, at: 2)
        let host = try KeepalivedAddresses.host(text)
        address = text
        var checkers: [(kind: KeepalivedChecker.Kind, statement: KeepalivedStatement)] = []
        for line in statement.statements {
            if let kind = KeepalivedChecker.Kind(rawValue: line.keyword) {
                checkers.append((kind, line))
            } else {
                line.attempt { () throws(InvalidValue) in try read(line, server: text) }
            }
        }
        guard case .ipv4(let own) = host else {
            // A service without listeners has a remark of its own.
            let isLost = parent.service.listeners.isEmpty
            remarks = isLost ? [] : [PlacedRemark(.left, place, "\(statement.title): ipvsd's tunnels are IPv4's")]
            return
        }
        let way = forwarding ?? parent.forwarding ?? parent.standardForwarding
        let context = KeepalivedChecker.Context(
            server: own, port: port, service: parent.service,
            isMasquerading: way.isMasquerading,
            pace: pace.inheriting(from: parent.pace), virtualHost: virtualHost ?? parent.virtualHost,
            surroundings: reader.options.surroundings)
        for (kind, checker) in checkers {
            checker.attempt { () throws(InvalidValue) in
                let made = try KeepalivedChecker(checker, kind, context)
                for check in made.checks where !checks.contains(check) { checks.append(check) }
                remarks += made.remarks
                programs += made.programs
                hasCheckers = true
                startsDown = startsDown || made.values.startsDown ?? isAlpha ?? parent.startsDown
            }
        }
        if let problem = ImportNames.problem(of: own) {
            remarks = [PlacedRemark(.left, place, "\(statement.title): \(problem)")]
            return
        }
        var server = ImportedServer(place: place, server: RealServer(address: own))
        ImportServers.set(weight: weight ?? parent.weight, &server)
        ImportServers.set(upper: upper, lower: lower, &server)
        way.replace(port: port, isServers: forwarding != nil, parent.service, &server)
        imported = parent.service.listeners.isEmpty ? nil : server
        if imported == nil { remarks = [] }
    }

    private mutating func read(_ line: KeepalivedStatement, server: String) throws(InvalidValue) {
        if try pace.read(line) { return }
        switch line.keyword {
        case "weight": weight = try line.number(in: 0...2_147_483_647, called: "weight")
        case "lvs_method": forwarding = try KeepalivedForwarding(line)
        case "uthreshold": upper = try line.number(in: 0...4_294_967_295, called: "threshold")
        case "lthreshold": lower = try line.number(in: 0...4_294_967_295, called: "threshold")
        case "inhibit_on_failure": inhibits = try line.flag()
        case "virtualhost": virtualHost = line.name() ?? virtualHost
        case "notify_up", "notify_down": try notifications.read(line, of: IPv4Address(server).map(IPAddress.v4))
        case "alpha":
            let flag = try line.flag()
            isAlpha = flag
            if flag { remarks.append(PlacedRemark(.changed, line.place, KeepalivedRemarks.alpha)) }
        case "smtp_alert":
            if try line.flag() {
                remarks.append(PlacedRemark(.left, line.place, KeepalivedRemarks.mails(line)))
            }
        default: KeepalivedVirtualServer.note(line, &remarks)
        }
    }
}
