internal import Addresses
internal import LoadBalancing
internal import ServiceConfiguration

/// A virtual_server block. Its own lines are read before its real servers, since the lines hold for all real servers.
struct KeepalivedVirtualServer {
    private let statement: KeepalivedStatement
    private(set) var service: ImportedService
    private(set) var pace = KeepalivedPace()
    private(set) var forwarding: KeepalivedForwarding?
    /// The forwarding of a real server if neither its block nor the virtual server's has an lvs_method.
    var standardForwarding: KeepalivedForwarding { .standard(at: statement.place) }
    private(set) var virtualHost: String?
    private(set) var weight = 1
    private(set) var inhibits = false
    private(set) var startsDown = false
    /// The protocol, or nil if the block names none that ipvsd balances.
    private var transport: TransportProtocol?
    /// Whether keepalived ignores the whole block.
    private var isIgnored = true
    /// Whether the service has SCTP or IPv6.
    private var isUnsupported = false
    private var persistence: (seconds: Int, place: SourcePlace)?
    private var netmask: (text: String, place: SourcePlace)?
    private var flags: [(word: String, place: SourcePlace)] = []
    private var onePacket: SourcePlace?
    private var sorry: (address: IPAddress, port: UInt16?, statement: KeepalivedStatement)?
    private var sorryForwarding: KeepalivedForwarding?
    private var notifications = KeepalivedNotifications()
    private var servers: [KeepalivedRealServer] = []

    init(_ statement: KeepalivedStatement, _ reader: inout KeepalivedImport) {
        self.statement = statement
        service = ImportedService(place: statement.place, title: statement.title)
        for line in statement.statements where line.keyword != "real_server" {
            line.attempt { () throws(InvalidValue) in try read(line) }
        }
        statement.attempt { () throws(InvalidValue) in
            try listen(reader)
            isIgnored = false
        }
        schedule()
        // Real servers of a service without listeners are read for their errors only.
        for block in statement.statements where block.keyword == "real_server" {
            block.attempt { () throws(InvalidValue) in
                servers.append(try KeepalivedRealServer(block, of: self, &reader))
            }
        }
    }

    // MARK: Lines

    private mutating func read(_ line: KeepalivedStatement) throws(InvalidValue) {
        if try pace.read(line) { return }
        let place = line.place
        switch line.keyword {
        case "lvs_sched", "lb_algo": ImportScheduling.set(scheduler: try line.value("NAME"), at: place, &service)
        case "lvs_method", "lb_kind": forwarding = try KeepalivedForwarding(line)
        case "hashed", "flag-1", "flag-2", "flag-3", "sh-port", "sh-fallback", "mh-port", "mh-fallback":
            flags.append((line.keyword, place))
        case "ops": onePacket = place
        case "persistence_timeout":
            let seconds =
                line.values.isEmpty
                ? 360 : try line.number(in: 1...2_678_400, called: "number of seconds", isExact: true)
            persistence = (seconds, place)
        case "persistence_granularity": netmask = (try Self.netmask(line), place)
        case "persistence_engine": ImportScheduling.refuse(engine: try line.value("NAME"), at: place, &service)
        case "protocol": try readProtocol(line)
        case "virtualhost": virtualHost = line.name() ?? virtualHost
        case "weight": weight = try line.number(in: 1...2_147_483_647, called: "weight")
        case "inhibit_on_failure": inhibits = isOn(line)
        case "quorum":
            // After a bad value the quorum is 1.
            service.policy.quorum.required = 1
            service.policy.quorum.required = try line.number(in: 1...4_294_967_295, called: "quorum")
        case "hysteresis":
            service.policy.quorum.hysteresis = try line.number(in: 0...4_294_967_295, called: "hysteresis")
        case "sorry_server": try readSorryServer(line)
        case "sorry_server_lvs_method": sorryForwarding = try KeepalivedForwarding(line)
        case "quorum_up", "quorum_down": try notifications.read(line, of: nil)
        default: try remark(on: line)
        }
    }

    private mutating func remark(on line: KeepalivedStatement) throws(InvalidValue) {
        let place = line.place
        switch line.keyword {
        case "alpha":
            startsDown = isOn(line)
            service.remark(.changed, place, KeepalivedRemarks.alpha)
        case "omega":
            service.remark(
                .changed, place, "omega: the end of the director runs no program of \(Options.notifyMapping.keyName)")
        case "ha_suspend":
            service.remark(
                .changed, place, "ha_suspend: ipvsd checks real servers also while another director has the VIP")
        case "smtp_alert":
            if try line.flag() { service.remark(.left, place, KeepalivedRemarks.mails(line)) }
        case "sorry_server_inhibit":
            service.remark(
                .left, place,
                "sorry_server_inhibit: without a need the sorry server gets no new connections, and "
                    + "keeps its present ones")
        case "ip_family":
            let family = try line.value("inet or inet6")
            guard ["inet", "inet6"].contains(family) else {
                throw InvalidValue("ip_family \(AddressText.quoted(family))", accepted: "inet or inet6")
            }
            guard family == "inet6" else { return }
            isUnsupported = true
            service.remark(.left, place, "ip_family inet6: ipvsd balances IPv4 only")
        default: Self.note(line, &service.remarks)
        }
    }

    /// Returns true, as a flag of a virtual server is on without a value. Notes any value, which keepalived ignores.
    private func isOn(_ line: KeepalivedStatement) -> Bool {
        line.endsBehind(0)
        return true
    }

    /// Returns the netmask as four octets. keepalived parses netmasks by inet_aton(3), by which 24 is 0.0.0.24.
    private static func netmask(_ line: KeepalivedStatement) throws(InvalidValue) -> String {
        let text = try line.value("NETMASK")
        if IPv4Address(text) != nil { return text }
        guard let last = UInt32(text), text.utf8.allSatisfy({ (48...57).contains($0) }) else {
            throw InvalidValue("\(AddressText.quoted(text)) is no netmask", accepted: "A.B.C.D")
        }
        return IPv4Address(last).description
    }

    /// Notes a keyword that ipvsd replaces or does not need.
    static func note(_ line: KeepalivedStatement, _ remarks: inout [PlacedRemark]) {
        let text =
            switch line.keyword {
            case "warmup": "first checks come at once, evenly spread"
            case "log_all_failures": "'ipvsd status' shows each server's last failure"
            case "snmp_name": "ipvsd has metrics for Prometheus instead of SNMP"
            default: "keepalived's own"
            }
        remarks.append(PlacedRemark(.note, line.place, "\(line.title): \(text)"))
    }

    private mutating func readProtocol(_ line: KeepalivedStatement) throws(InvalidValue) {
        switch try line.value("TCP, UDP or SCTP").uppercased() {
        case "TCP": transport = .tcp
        case "UDP": transport = .udp
        case "SCTP":
            isUnsupported = true
            service.remark(.left, line.place, "protocol SCTP: ipvsd has no services of it")
        case let other: throw InvalidValue("protocol \(AddressText.quoted(other))", accepted: "TCP, UDP or SCTP")
        }
    }

    private mutating func readSorryServer(_ line: KeepalivedStatement) throws(InvalidValue) {
        let host = try KeepalivedAddresses.host(try line.value("A.B.C.D [PORT]", more: true))
        let port = try KeepalivedAddresses.port(line, at: 2)
        line.endsBehind(2)
        guard case .ipv4(let address) = host else {
            service.remark(.left, line.place, "\(line.title): ipvsd's tunnels are IPv4's")
            return
        }
        if let problem = ImportNames.problem(of: address) {
            let instead = "; write \(Options.sorryServer.keyName): with such an address, or with that of another host"
            let isDirector = address.isLoopback
            service.remark(.left, line.place, "\(line.title): \(problem)\(isDirector ? instead : "")")
            return
        }
        sorry = (address, port, line)
    }

    // MARK: Where it is found

    private mutating func listen(_ reader: KeepalivedImport) throws(InvalidValue) {
        let target = try statement.value("A.B.C.D [PORT], fwmark N or group NAME", more: true)
        statement.endsBehind(2)
        if isUnsupported { return }
        let transport = transport ?? .udp
        func operand(_ accepted: String) throws(InvalidValue) -> String {
            guard statement.words.count > 2 else {
                let error = InvalidValue(
                    "virtual_server \(target) without its value", accepted: "virtual_server \(target) \(accepted)")
                statement.notes.errors.add(statement.place, error)
                throw error
            }
            return statement.words[2]
        }
        switch target {
        case "fwmark":
            let mark = UInt32(
                try statement.number(try operand("N"), in: 1...4_294_967_295, called: "firewall mark"))
            return ImportMarks.listen(to: mark, isIPv6: false, at: statement.place, reader.options, &service)
        case "group":
            let name = try operand("NAME")
            guard let group = reader.groups[name] else {
                throw InvalidValue("there is no virtual_server_group \(name)", accepted: "the name of one")
            }
            group.listen(transport, reader.options, &service)
        default:
            guard case .ipv4(let vip) = try KeepalivedAddresses.host(target) else {
                service.remark(.left, statement.place, "\(statement.title): ipvsd balances IPv4 only")
                return
            }
            if let problem = ImportNames.problem(of: vip) {
                service.remark(.left, statement.place, "\(statement.title): \(vip) is no VIP: \(problem)")
                return
            }
            let port = try KeepalivedAddresses.port(statement, at: 2)
            service.listeners = [ImportedListener(vip: vip, port: port, transport: transport)]
        }
        if self.transport == nil {
            service.remark(.note, statement.place, "\(statement.title): no protocol: UDP, as keepalived takes it")
        }
    }

    private mutating func schedule() {
        for (word, place) in flags { ImportScheduling.set(flags: [word], at: place, &service) }
        if let onePacket { ImportScheduling.setOnePacket(at: onePacket, &service) }
        // In keepalived, any-port services and services with a netmask are persistent by default.
        if persistence == nil,
            netmask != nil || service.listeners.contains(where: { $0.port == nil && $0.transport != nil })
        {
            persistence = (360, statement.place)
        }
        if let persistence {
            ImportScheduling.set(
                persistence: persistence.seconds, netmask: netmask?.text, at: netmask?.place ?? persistence.place,
                &service)
        }
    }

    // MARK: The whole

    func add(to reader: inout KeepalivedImport) {
        let notes = statement.notes.popRemarks()
        guard !isIgnored else {
            reader.file.remarks += notes.filter { $0.place == statement.place }
            return
        }
        var whole = self
        whole.service.remarks += notes
        whole.service.servers = servers.compactMap(\.imported)
        whole.joinServers()
        whole.joinListeners()
        whole.joinChecks()
        whole.joinNotifications(&reader)
        whole.joinSorryServer()
        reader.file.services.append(whole.service)
    }

    /// Adds a remark if the service has several listeners. keepalived gives each address a service with a schedule of
    /// its own.
    private mutating func joinListeners() {
        guard service.listeners.count > 1 else { return }
        let isFelt = service.forwarding.persistence != nil || service.servers.contains { $0.server.thresholds != nil }
        service.remark(
            isFelt ? .changed : .note, statement.place,
            "\(statement.title): one service of \(service.listeners.count) listeners, with one schedule, persistence and "
                + "thresholds; keepalived gives each address its own")
    }

    private mutating func joinServers() {
        for server in servers { service.remarks += server.remarks }
        let usable = servers.filter { $0.imported != nil }
        service.policy.inhibits = !usable.isEmpty && usable.allSatisfy { $0.inhibits ?? inhibits }
        guard !service.policy.inhibits else { return }
        for server in usable where server.inhibits ?? inhibits {
            service.remark(
                .left, server.place,
                "inhibit_on_failure: not all real servers of the service have it, and ipvsd has it for "
                    + "services")
        }
    }

    /// Gives the service the checks that most of its real servers have. Adds a remark for each real server with other
    /// checks.
    private mutating func joinChecks() {
        let usable = servers.filter { $0.imported != nil }
        var counts: [[ImportedCheck]: Int] = [:]
        for server in usable { counts[server.checks, default: 0] += 1 }
        let most = counts.values.max() ?? 0
        guard let common = usable.first(where: { counts[$0.checks] == most }) else { return }
        for server in usable where server.checks != common.checks {
            service.remark(
                .changed, server.place,
                "real server \(server.address): its checks are not those of \(common.address) (\(common.place)), which hold "
                    + "for all of the service")
        }
        if !common.checks.isEmpty {
            service.checks = .listed(common.checks)
        } else if usable.contains(where: \.hasCheckers) {
            service.checks = .auto
            service.remark(
                .changed, service.place,
                "\(service.title): none of its checks could be carried over; ipvsd's own "
                    + "(\(Options.check.field(.auto))) replace them")
        } else {
            service.checks = .none
            service.remark(
                .note, service.place,
                "\(service.title): keepalived checks nothing here; \(Options.check.field(.auto)) would")
        }
    }

    private mutating func joinNotifications(_ reader: inout KeepalivedImport) {
        for server in servers where server.imported != nil { notifications.add(server.notifications) }
        let usable = servers.filter { $0.imported != nil }
        service.notify = notifications.notification(
            of: usable.compactMap { $0.imported?.server.address },
            announced: Set(
                usable.filter { $0.startsDown || reader.notifiesServersAtStart }.compactMap {
                    $0.imported?.server.address
                }
            ))
        assignAddresses(&reader)
        let scripts = notifications.programs + servers.flatMap(\.programs)
        for (program, place) in scripts where !KeepalivedCommand.exists(program, reader.options.surroundings.files) {
            service.remark(
                .note, place, "there is no program \(program) here: checks and notifications by it fail until there is")
        }
        service.remarks += notifications.remarks
        if let user = reader.scriptUser, !scripts.isEmpty {
            reader.scriptUser = nil
            reader.remark(.changed, user.place, "\(user.title): ipvsd runs programs as the user that it runs as itself")
        }
    }

    /// Decides whether a program of the quorum has the VIP. A program has the VIP if its command names the VIP.
    private mutating func assignAddresses(_ reader: inout KeepalivedImport) {
        let programs = notifications.quorumPrograms
        guard let first = programs.first else { return }
        let vips = Set(service.listeners.map(\.vip))
        for (command, place) in programs {
            let named = vips.filter { vip in
                command.contains { KeepalivedCommand.replacing(vip, with: "", in: $0) != $0 }
            }
            guard !named.isEmpty else { continue }
            for vip in named { reader.programs[vip] = min(reader.programs[vip] ?? place, place) }
            service.remark(
                .changed, place,
                "\(command[0]) names the VIP: ipvsd leaves the VIP to it (\(Options.addresses.field(false))); write "
                    + "\(Options.addresses.field(true)) where it only announces the VIP")
        }
        guard vips.isDisjoint(with: reader.programs.keys) else { return }
        service.remark(
            .changed, first.place,
            "\(first.command[0]): ipvsd has the VIP on the director while it runs, whatever the quorum is; write "
                + "\(Options.addresses.field(false)) where the program puts it there")
    }

    private mutating func joinSorryServer() {
        guard let (address, port, line) = sorry else { return }
        service.policy.sorryServer = address
        var server = ImportedServer(place: line.place, server: RealServer(address: address))
        (sorryForwarding ?? forwarding ?? standardForwarding).replace(port: port, isServers: true, service, &server)
        service.remarks += server.remarks
    }
}
