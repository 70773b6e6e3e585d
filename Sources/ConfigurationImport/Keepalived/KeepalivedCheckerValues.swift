internal import LoadBalancing
internal import ServiceConfiguration

/// The values of a checker's block.
struct KeepalivedCheckerValues {
    /// The answer that a UDP_CHECK requires.
    enum Reply {
        case none
        case any
        case beginning(hex: String)
    }

    private(set) var pace = KeepalivedPace()
    private(set) var address: String?
    private(set) var port: UInt16?
    /// The value of the checker's `alpha`. Nil means that the real server's `alpha` holds.
    private(set) var startsDown: Bool?
    private(set) var remarks: [PlacedRemark] = []
    // HTTP_GET and SSL_GET.
    private(set) var urls: [KeepalivedURL] = []
    private(set) var virtualHost: String?
    private(set) var usesSNI: Bool?
    private(set) var serverName: String?
    // SMTP_CHECK, DNS_CHECK and UDP_CHECK.
    private(set) var helo: String?
    private(set) var recordType = "SOA"
    private(set) var recordName: String?
    private(set) var payload: String?
    private(set) var reply = Reply.none
    // MISC_CHECK.
    private(set) var script: (command: [String], line: KeepalivedStatement)?
    private(set) var scriptTimeout = 0
    private(set) var dynamic: KeepalivedStatement?
    private(set) var user: KeepalivedStatement?

    /// Reads the lines of a checker, all of which have keywords that the checker accepts.
    init(_ checker: KeepalivedStatement) {
        for line in checker.statements { line.attempt { () throws(InvalidValue) in try read(line) } }
    }

    private mutating func remark(_ kind: ImportRemark.Kind, _ line: KeepalivedStatement, _ text: String) {
        remarks.append(PlacedRemark(kind, line.place, text))
    }

    private mutating func read(_ line: KeepalivedStatement) throws(InvalidValue) {
        if try pace.read(line, isChecker: true) { return }
        switch line.keyword {
        case "connect_ip":
            let text = try line.value("A.B.C.D")
            _ = try KeepalivedAddresses.host(text)
            address = text
        case "connect_port": port = UInt16(try line.number(in: 1...65_535, called: "port"))
        case "bindto", "bind_port", "bind_if", "fwmark":
            remark(.left, line, "\(line.title): ipvsd's checks have an address and a mark of their own")
        case "alpha":
            let isAlpha = try line.flag()
            startsDown = isAlpha
            if isAlpha { remark(.changed, line, KeepalivedRemarks.alpha) }
        case "warmup", "log_all_failures", "fast_recovery", "tls_compliant":
            KeepalivedVirtualServer.note(line, &remarks)
        default: try readOwn(line)
        }
    }

    /// Reads a line whose keyword only some checkers have.
    private mutating func readOwn(_ line: KeepalivedStatement) throws(InvalidValue) {
        switch line.keyword {
        case "url": urls.append(try KeepalivedURL(line, &remarks))
        case "http_protocol": remark(.note, line, "\(line.title): ipvsd uses HTTP/1.1")
        case "virtualhost": virtualHost = line.name() ?? virtualHost
        case "enable_sni": usesSNI = try line.flag()
        case "sni_name":
            usesSNI = usesSNI ?? true
            serverName = line.values.isEmpty ? serverName : line.name()
        case "helo_name": helo = line.name() ?? helo
        case "host":
            remark(.left, line, "SMTP_CHECK's host, which keepalived has dropped: write another SMTP_CHECK instead")
        case "type": recordType = try Self.recordType(line)
        case "name":
            let name = try line.value("NAME")
            // The first name counts.
            recordName = recordName ?? name
        case "payload": payload = try Self.hex(line, wildcards: false)
        case "require_reply": try readReply(line)
        case "min_reply_length", "max_reply_length":
            _ = try line.number(in: 0...65_535, called: "length", isExact: true)
            remark(.left, line, "\(line.title): ipvsd does not compare the length of a reply")
        case "misc_path": script = (try KeepalivedCommand.command(of: line).command, line)
        case "misc_timeout": scriptTimeout = try line.number(in: 0...4_294, called: "number of seconds")
        case "misc_dynamic": dynamic = line
        case "user": user = line.name() == nil ? user : line
        default: break
        }
    }

    private mutating func readReply(_ line: KeepalivedStatement) throws(InvalidValue) {
        reply = .any
        guard !line.values.isEmpty else { return }
        let bytes = try Self.hex(line, wildcards: true)
        if bytes.utf8.contains(120) {
            remark(.changed, line, "require_reply with wildcards: any reply is accepted")
        } else {
            reply = .beginning(hex: bytes)
        }
    }

    /// Returns ipvsd's name of a record type. RRSIG and DNSKEY have numbers only.
    private static func recordType(_ line: KeepalivedStatement) throws(InvalidValue) -> String {
        let types = [
            "A": "A", "NS": "NS", "CNAME": "CNAME", "SOA": "SOA", "MX": "MX", "TXT": "TXT", "AAAA": "AAAA",
            "RRSIG": "TYPE46", "DNSKEY": "TYPE48",
        ]
        let name = try line.value("TYPE").uppercased()
        guard let type = types[name] else {
            throw InvalidValue(
                "type \(AddressText.quoted(name))", accepted: types.keys.sorted().joined(separator: ", "))
        }
        return type
    }

    /// Parses groups of hexadecimal digits. The last digit of an odd group is a byte of its own: `Ab12f 3 456` is
    /// ab120f034506 (read_hex_str).
    private static func hex(_ line: KeepalivedStatement, wildcards: Bool) throws(InvalidValue) -> String {
        let digits = line.values.joined(separator: " ").lowercased()
        guard !line.values.isEmpty,
            digits.unicodeScalars.allSatisfy({ ASCIIText.isHexDigit($0) || $0 == " " || wildcards && $0 == "x" })
        else {
            throw InvalidValue(
                "\(AddressText.quoted(digits)) is not hexadecimal", accepted: "digits 0 to 9 and A to F")
        }
        return digits.split(separator: " ").map { group in
            let digits = Array(group)
            return stride(from: 0, to: digits.count, by: 2).map {
                $0 + 1 < digits.count ? String(digits[$0...($0 + 1)]) : "0\(digits[$0])"
            }.joined()
        }.joined()
    }
}
