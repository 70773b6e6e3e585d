internal import HealthChecks
internal import LoadBalancing

/// One checker's block of a real server, as ipvsd's checks: several for several urls.
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

    /// What a checker has from around it.
    struct Context {
        let server: IPv4Address
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

    private let statement: KeepalivedStatement
    private let context: Context
    private let kind: Kind
    private var pace = KeepalivedPace()
    private var address: String?
    private var port: UInt16?
    private var urls: [KeepalivedURL] = []
    private var values: [String: KeepalivedStatement] = [:]

    init(_ statement: KeepalivedStatement, _ context: Context, _ errors: ImportErrors) throws(InvalidValue) {
        self.statement = statement
        self.context = context
        guard let kind = Kind(rawValue: statement.keyword) else {
            throw InvalidValue("unknown checker \(statement.keyword)", accepted: "HTTP_GET, TCP_CHECK, …")
        }
        self.kind = kind
        for line in try statement.statements() {
            errors.attempt(line.place) { () throws(InvalidValue) in try take(line) }
        }
        try make()
    }

    private mutating func remark(_ kind: ImportRemark.Kind, _ place: SourcePlace, _ text: String) {
        remarks.append(PlacedRemark(kind, place, text))
    }

    /// Keywords of one kind of checker, which `make` looks at.
    private static let own: [Kind: Set<String>] = [
        .http: ["virtualhost"], .https: ["virtualhost", "enable_sni", "sni_name"], .smtp: ["helo_name"],
        .dns: ["type", "name"], .misc: ["misc_path", "misc_timeout", "misc_dynamic", "user"],
        .udp: ["payload", "require_reply", "min_reply_length", "max_reply_length"],
        .file: ["track_file", "dynamic", "weight"], .bfd: ["name"],
    ]

    private mutating func take(_ line: KeepalivedStatement) throws(InvalidValue) {
        if try pace.take(line) { return }
        if Self.own[kind]?.contains(line.keyword) == true {
            values[line.keyword] = line
            return
        }
        switch line.keyword {
        case "connect_ip": address = try line.value("A.B.C.D")
        case "connect_port":
            _ = try line.value("PORT")
            port = try KeepalivedAddresses.port(line, at: 1)
        case "bindto", "bind_port", "bind_if", "fwmark":
            remark(.left, line.place, "\(line.title): ipvsd's checks have an address and a mark of their own")
        case "alpha":
            if try line.flag() { remark(.changed, line.place, KeepalivedRemarks.alpha) }
        case "warmup", "log_all_failures", "fast_recovery", "tls_compliant":
            KeepalivedVirtualServer.note(line, &remarks)
        case "http_protocol" where kind == .http || kind == .https:
            remark(.note, line.place, "\(line.title): ipvsd asks by HTTP/1.1")
        case "url" where kind == .http || kind == .https: urls.append(try KeepalivedURL(line, &remarks))
        case "host" where kind == .smtp:
            remark(.left, line.place, "SMTP_CHECK's host, which keepalived gave up: another SMTP_CHECK says the same")
        default: remark(.left, line.place, "\(line.title): unknown to ipvsd import")
        }
    }

    // MARK: The kinds

    private mutating func make() throws(InvalidValue) {
        switch kind {
        case .tcp: ask(.tcp, at: .tcp)
        case .ping: ask(.ping, at: nil)
        case .smtp:
            let helo = try values["helo_name"]?.value("NAME") ?? "smtpchecker.keepalived.org"
            ask(.smtp, at: .tcp, [ImportedCheck.Field(key: "helo", value: .text(helo))])
        case .dns: try makeDNS()
        case .udp: try makeUDP()
        case .misc: try makeScript()
        case .http, .https: try makeHTTP()
        case .file:
            remark(
                .left, statement.place,
                "FILE_CHECK: keepalived adds the file's number to the weight; ipvsd's checks of type "
                    + "file read the weight itself")
        case .bfd:
            remark(.left, statement.place, "BFD_CHECK: ipvsd does not speak BFD; its checks may come every 10 ms")
        }
    }

    /// Adds a check, if it can be asked where it is to be, and its parser takes it.
    private mutating func ask(
        _ type: CheckSection.Kind, at transport: TransportProtocol?, _ fields: [ImportedCheck.Field] = [],
        standard: KeepalivedPace.Standard = KeepalivedPace.Standard(), isDirect: Bool? = nil
    ) {
        var all = fields
        var isDirect = isDirect ?? false
        if type != .script {
            guard let target = target(transport) else { return }
            isDirect = target.isDirect
            if let port = target.port { all.insert(ImportedCheck.Field(key: "port", value: .text("\(port)")), at: 0) }
        }
        var told: [PlacedRemark] = []
        let pace = pace.inheriting(from: context.pace).pace(standard) {
            told.append(PlacedRemark($0, statement.place, "\(statement.keyword): \($1)"))
        }
        let check = ImportedCheck(type: type, fields: all, isDirect: isDirect, pace: pace)
        if let problem = check.problem {
            remark(.left, statement.place, "\(statement.keyword): \(problem)")
            return
        }
        remarks += told
        checks.append(check)
    }

    /// The port that is asked, and whether that is at the real server's own address. Nil: it cannot be asked.
    private mutating func target(_ transport: TransportProtocol?) -> (port: UInt16?, isDirect: Bool)? {
        var isTunnelled: Bool?
        if let address, address != context.server.description {
            guard context.service.listeners.contains(where: { $0.vip.description == address }) else {
                remark(
                    .left, statement.place,
                    "\(statement.keyword) of \(address): ipvsd asks the real server itself, or the VIP "
                        + "through its tunnel")
                return nil
            }
            isTunnelled = true
        }
        guard let transport else { return (nil, false) }
        let listeners = context.service.listeners
        // Where masquerading changed the port, clients will find the service at the VIP's.
        let translated = context.isMasquerading && port == nil ? listeners.first?.port : nil
        guard let asked = translated ?? port ?? context.port ?? listeners.first?.port else {
            remark(.left, statement.place, "\(statement.keyword): neither it nor the real server says a port")
            return nil
        }
        let isClients = listeners.contains {
            $0.port == nil || ($0.port == asked && $0.transport == transport)
        }
        return (asked, !(isTunnelled ?? isClients))
    }

    private mutating func makeDNS() throws(InvalidValue) {
        let type = try values["type"]?.value("TYPE") ?? "SOA"
        let codes = ["RRSIG": "TYPE46", "DNSKEY": "TYPE48"]
        ask(
            .dns, at: .udp,
            [
                ImportedCheck.Field(key: "name", value: .text(try values["name"]?.value("NAME") ?? ".")),
                ImportedCheck.Field(key: "record", value: .text(codes[type.uppercased()] ?? type)),
            ], standard: KeepalivedPace.Standard(retry: 3, delayBeforeRetry: nil))
    }

    private mutating func makeUDP() throws(InvalidValue) {
        var fields: [ImportedCheck.Field] = []
        if let line = values["payload"] {
            let bytes = try Self.hex(line.values.joined(separator: " "), wildcards: false)
            fields.append(ImportedCheck.Field(key: "payload-hex", value: .text(bytes)))
        } else {
            remark(.note, statement.place, "UDP_CHECK: an empty datagram is sent, where keepalived sends a random one")
        }
        if let line = values["require_reply"] {
            let text = line.values.joined(separator: " ")
            if text.lowercased().contains("x") {
                _ = try Self.hex(text, wildcards: true)
                remark(.changed, line.place, "require_reply with wildcards: any reply will do")
            } else if !text.isEmpty {
                fields.append(
                    ImportedCheck.Field(key: "reply-begins-hex", value: .text(try Self.hex(text, wildcards: false))))
            }
            for name in ["min_reply_length", "max_reply_length"] {
                guard let line = values[name] else { continue }
                _ = try line.number(in: 0...65_535, called: "length")
                remark(.left, line.place, "\(line.title): ipvsd does not judge a reply by its length")
            }
        } else {
            fields.append(ImportedCheck.Field(key: "silence", value: .text("true")))
        }
        ask(.udp, at: .udp, fields)
    }

    /// `Ab12f 3 456` is AB 12 0F 03 45 06 (read_hex_str).
    private static func hex(_ text: String, wildcards: Bool) throws(InvalidValue) -> String {
        let groups = text.split(whereSeparator: \.isWhitespace)
        guard !groups.isEmpty,
            text.allSatisfy({ $0.isASCII && ($0.isHexDigit || $0.isWhitespace || wildcards && "xX".contains($0)) })
        else {
            throw InvalidValue("\(AddressText.quoted(text)) is not hexadecimal", accepted: "digits 0 to 9 and A to F")
        }
        return groups.map { group in
            let digits = Array(group.lowercased())
            return stride(from: 0, to: digits.count, by: 2).map {
                $0 + 1 < digits.count ? String(digits[$0...($0 + 1)]) : "0\(digits[$0])"
            }.joined()
        }.joined()
    }

    // MARK: Programs

    private mutating func makeScript() throws(InvalidValue) {
        guard let line = values["misc_path"] else {
            throw InvalidValue("MISC_CHECK without misc_path", accepted: "misc_path \"/PATH ARGUMENT…\"")
        }
        let (words, _) = try KeepalivedCommand.command(of: line)
        guard let program = words.first, program.hasPrefix("/") else {
            remark(.left, line.place, "\(line.title): it is no absolute path of a program; ipvsd searches none")
            return
        }
        if let user = values["user"] {
            remark(.changed, user.place, "\(user.title): ipvsd runs programs as the user that it runs as itself")
        }
        // What the program prints is nothing to keepalived, and would be a weight.
        var command =
            ["/bin/sh", "-c", "exec \"$@\" >/dev/null", "sh"] + words.map { Self.general($0, context.server) }
        if let dynamic = values["misc_dynamic"] {
            // Exit codes from 2 on are weights, two greater than they mean; ipvsd reads a weight from the output. Those from
            // 126 to 159 are the shell's, of what it could not run, and of what a signal killed.
            let translation =
                "\"$@\" >/dev/null; code=$?; case $code in [01]) exit $code ;; 12[6-9]|1[345]?) exit 1 ;; esac; "
                + "echo \"$((code - 2))\""
            command[2] = translation
            remark(
                .note, dynamic.place,
                "misc_dynamic: a shell around the program makes a weight of its exit code (126 to 159 are failures)")
        }
        let seconds = try values["misc_timeout"]?.number(in: 0...4_294, called: "number of seconds") ?? 0
        let loop = pace.inheriting(from: context.pace).delayLoop ?? .seconds(60)
        let before = checks.count
        ask(
            .script, at: nil, [ImportedCheck.Field(key: "command", value: .list(command))],
            standard: KeepalivedPace.Standard(retry: 0, timeout: seconds > 0 ? .seconds(seconds) : loop), isDirect: true
        )
        if checks.count > before { programs.append((program, line.place)) }
    }

    /// The real server's address as `{server}`, so that one command serves for all.
    private static func general(_ word: String, _ server: IPv4Address) -> String {
        let address = server.description
        var result = ""
        var rest = word[...]
        while let first = rest.first {
            let isWord = result.last.map { !($0.isNumber || $0 == ".") } ?? true
            if isWord, rest.hasPrefix(address) {
                let behind = rest.dropFirst(address.count)
                let next = behind.first
                let isEnd =
                    next.map { !$0.isNumber && !($0 == "." && behind.dropFirst().first?.isNumber == true) } ?? true
                if isEnd {
                    result += "{server}"
                    rest = behind
                    continue
                }
            }
            result.append(first)
            rest.removeFirst()
        }
        return result
    }

    // MARK: HTTP

    private mutating func makeHTTP() throws(InvalidValue) {
        if urls.isEmpty {
            remark(.left, statement.place, "\(statement.keyword) without url: keepalived does not ask anything either")
        }
        let own = try values["virtualhost"]?.value("NAME")
        let sniName = try values["sni_name"].flatMap { line throws(InvalidValue) in
            line.values.isEmpty ? nil : try line.value("NAME")
        }
        let asksByName = try values["enable_sni"]?.flag() ?? (values["sni_name"] != nil)
        for url in urls {
            let host = url.virtualHost ?? own ?? context.virtualHost
            var fields = [ImportedCheck.Field(key: "path", value: .text(url.path))]
            if let host { fields.append(ImportedCheck.Field(key: "host", value: .text(host))) }
            if kind == .https, asksByName, let name = sniName ?? host {
                fields.append(ImportedCheck.Field(key: "server-name", value: .text(name)))
            }
            fields.append(
                ImportedCheck.Field(
                    key: "status", value: url.statuses.count == 1 ? .text(url.statuses[0]) : .list(url.statuses)))
            if let regex = url.regex { fields.append(ImportedCheck.Field(key: "body-matches", value: .text(regex))) }
            ask(
                kind == .https ? .https : .http, at: .tcp, fields,
                standard: KeepalivedPace.Standard(delayBeforeRetry: .seconds(3)))
        }
    }
}
