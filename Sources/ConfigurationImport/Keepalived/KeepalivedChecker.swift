internal import Addresses
internal import HealthChecks
internal import LoadBalancing
internal import ServiceConfiguration

/// A checker block of a real server, as checks of ipvsd. Each url of an HTTP_GET or SSL_GET becomes a check.
struct KeepalivedChecker {
    enum Kind: String {
        case tcp = "TCP_CHECK"
        case http = "HTTP_GET"
        case https = "SSL_GET"
        case smtp = "SMTP_CHECK"
        case dns = "DNS_CHECK"
        case misc = "MISC_CHECK"
        case ping = "PING_CHECK"
        case udp = "UDP_CHECK"
        case file = "FILE_CHECK"
        case bfd = "BFD_CHECK"
    }

    /// The values of the blocks around a checker.
    struct Context {
        let server: IPAddress
        let port: UInt16?
        let service: ImportedService
        let isMasquerading: Bool
        let pace: KeepalivedPace
        let virtualHost: String?
        let surroundings: ImportSurroundings
    }

    private(set) var checks: [ImportedCheck] = []
    private(set) var remarks: [PlacedRemark] = []
    private(set) var programs: [(path: String, place: SourcePlace)] = []
    let values: KeepalivedCheckerValues

    private let statement: KeepalivedStatement
    private let context: Context

    init(_ statement: KeepalivedStatement, _ kind: Kind, _ context: Context) throws(InvalidValue) {
        self.statement = statement
        self.context = context
        values = KeepalivedCheckerValues(statement)
        remarks = values.remarks
        try make(kind)
    }

    private mutating func remark(_ kind: ImportRemark.Kind, _ place: SourcePlace, _ text: String) {
        remarks.append(PlacedRemark(kind, place, text))
    }

    // MARK: The kinds

    private mutating func make(_ kind: Kind) throws(InvalidValue) {
        switch kind {
        case .tcp: add(.tcp, at: .tcp)
        case .ping: add(.ping, at: nil)
        case .smtp:
            let helo = values.helo ?? "smtpchecker.keepalived.org"
            add(.smtp, at: .tcp, [ImportedCheck.Field(Options.helo, .text(helo))])
        case .dns: makeDNS()
        case .udp: makeUDP()
        case .misc: try makeScript()
        case .http: try makeHTTP(isTLS: false)
        case .https: try makeHTTP(isTLS: true)
        case .file:
            remark(
                .left, statement.place,
                "FILE_CHECK: keepalived adds the file's number to the weight; ipvsd's checks of "
                    + "\(Options.checkType.keyName) \(CheckType.file.rawValue) read the weight itself")
        case .bfd:
            remark(.left, statement.place, "BFD_CHECK: ipvsd has no BFD; its shortest check interval is 10 ms")
        }
    }

    /// Adds a check if its target can be probed and the configuration file's parser accepts the check. Otherwise adds a
    /// remark.
    private mutating func add(
        _ type: CheckType, at transport: TransportProtocol?, _ fields: [ImportedCheck.Field] = [],
        standard: KeepalivedPace.Standard = KeepalivedPace.Standard(), isDirect: Bool? = nil
    ) {
        var all = fields
        var isDirect = isDirect ?? false
        if type != .script {
            guard let target = target(transport) else { return }
            isDirect = target.isDirect
            if let port = target.port { all.insert(ImportedCheck.Field(Options.port, .text("\(port)")), at: 0) }
        }
        var paceRemarks: [PlacedRemark] = []
        let pace = values.pace.inheriting(from: context.pace).pace(standard) {
            paceRemarks.append(PlacedRemark($0, statement.place, "\(statement.keyword): \($1)"))
        }
        let check = ImportedCheck(type: type, fields: all, isDirect: isDirect, pace: pace)
        if let problem = check.problem {
            remark(.left, statement.place, "\(statement.keyword): \(problem)")
            return
        }
        remarks += paceRemarks
        checks.append(check)
    }

    /// Returns the port to probe, and whether the probe goes directly to the real server. Without `transport` the port
    /// is nil. Returns nil after a remark if the address cannot be probed, or if no port is known.
    private mutating func target(_ transport: TransportProtocol?) -> (port: UInt16?, isDirect: Bool)? {
        var isTunnelled: Bool?
        if let address = values.address, address != context.server.description {
            guard context.service.listeners.contains(where: { $0.vip.description == address }) else {
                remark(
                    .left, statement.place,
                    "\(statement.keyword) of \(address): ipvsd probes the real server's own address, or the VIP "
                        + "through its tunnel")
                return nil
            }
            isTunnelled = true
        }
        guard let transport else { return (nil, false) }
        let listeners = context.service.listeners
        // Masquerading may have translated the VIP's port to another port of the real server. Through the tunnel,
        // clients' packets arrive with the VIP's port.
        let port = values.port ?? context.port
        let isServed = values.port == nil || values.port == context.port
        let translated = context.isMasquerading && isServed ? listeners.first?.port : nil
        guard let asked = translated ?? port ?? listeners.first?.port else {
            remark(.left, statement.place, "\(statement.keyword): neither the checker nor the real server has a port")
            return nil
        }
        let isClients = listeners.contains {
            $0.port == nil || ($0.port == asked && $0.transport == transport)
        }
        return (asked, !(isTunnelled ?? isClients))
    }

    private static let recordTypes: Set = [
        "A", "NS", "CNAME", "SOA", "MX", "TXT", "AAAA", "RRSIG", "DNSKEY",
    ]

    private mutating func makeDNS() {
        add(
            .dns, at: .udp,
            [
                ImportedCheck.Field(Options.dnsName, .text(values.recordName ?? ".")),
                ImportedCheck.Field(Options.dnsRecord, .text(values.recordType)),
            ], standard: KeepalivedPace.Standard(retry: 3, delayBeforeRetry: nil))
    }

    private mutating func makeUDP() {
        var fields: [ImportedCheck.Field] = []
        if let payload = values.payload {
            fields.append(ImportedCheck.Field(Options.payloadHex, .text(payload)))
        } else {
            remark(.note, statement.place, "UDP_CHECK: an empty datagram is sent, where keepalived sends a random one")
        }
        switch values.reply {
        case .none: fields.append(ImportedCheck.Field(Options.silence, .text("true")))
        case .any: break
        case .beginning(let hex): fields.append(ImportedCheck.Field(Options.replyBeginsHex, .text(hex)))
        }
        add(.udp, at: .udp, fields)
    }

    // MARK: Programs

    private mutating func makeScript() throws(InvalidValue) {
        guard let (words, line) = values.script else {
            throw InvalidValue("MISC_CHECK without misc_path", accepted: "misc_path \"/PATH ARGUMENT…\"")
        }
        guard let program = words.first, KeepalivedCommand.isProgram(program) else {
            remark(.left, line.place, "\(line.title): \(KeepalivedCommand.noProgram)")
            return
        }
        if let user = values.user {
            remark(.changed, user.place, "\(user.title): ipvsd runs programs as the user that it runs as itself")
        }
        // keepalived ignores the program's output. ipvsd would read a weight from it.
        var command =
            ["/bin/sh", "-c", "exec \"$@\" >/dev/null", "sh"]
            + words.map { KeepalivedCommand.replacing(context.server, with: "{server}", in: $0) }
        if let dynamic = values.dynamic {
            // Exit codes from 2 on are the weight plus 2. ipvsd reads the weight from the output. Codes from 126 to 159
            // come from the shell, for programs that did not run or that a signal killed.
            let translation =
                "\"$@\" >/dev/null; code=$?; case $code in [01]) exit $code ;; 12[6-9]|1[345]?) exit 1 ;; esac; "
                + "echo \"$((code - 2))\""
            command[2] = translation
            remark(
                .note, dynamic.place,
                "misc_dynamic: a shell around the program makes a weight of its exit code (126 to 159 are failures)")
        }
        let seconds = values.scriptTimeout
        let loop = values.pace.inheriting(from: context.pace).delayLoop ?? .seconds(60)
        let before = checks.count
        add(
            .script, at: nil, [ImportedCheck.Field(Options.command, .list(command))],
            standard: KeepalivedPace.Standard(retry: 0, timeout: seconds > 0 ? .seconds(seconds) : loop), isDirect: true
        )
        if checks.count > before { programs.append((program, line.place)) }
    }

    // MARK: HTTP

    private mutating func makeHTTP(isTLS: Bool) throws(InvalidValue) {
        guard !values.urls.isEmpty else {
            throw InvalidValue("\(statement.keyword) without a url", accepted: "url { path /… }")
        }
        for url in values.urls {
            let host = url.virtualHost ?? values.virtualHost ?? context.virtualHost
            var fields = [ImportedCheck.Field(Options.httpPath, .text(url.path))]
            if let host { fields.append(ImportedCheck.Field(Options.httpHost, .text(host))) }
            if isTLS, values.usesSNI == true, let name = values.serverName ?? host {
                fields.append(ImportedCheck.Field(Options.serverName, .text(name)))
            }
            fields.append(
                ImportedCheck.Field(
                    Options.httpStatus, url.statuses.count == 1 ? .text(url.statuses[0]) : .list(url.statuses)))
            if let regex = url.regex { fields.append(ImportedCheck.Field(Options.bodyMatches, .text(regex))) }
            add(
                isTLS ? .https : .http, at: .tcp, fields,
                standard: KeepalivedPace.Standard(delayBeforeRetry: .seconds(3)))
        }
    }
}
