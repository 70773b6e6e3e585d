package import HealthChecks

/// The options of checks that only some types of checks have. They have keys in the file, and no flags.
extension Options {
    static let checks: [any DeclaredOption] = [
        mtuSize, port, httpMethod, httpPath, httpHost, httpHeaders, httpVersion, httpStatus, bodyContains, bodyMatches,
        bodyDigest, bodyLimit, grpcService, grpcAuthority, grpcTLS, serverName, verification, trustRoots, validDays,
        helo,
        dnsTransport, dnsName, dnsRecord, dnsCodes, dnsAnswers, payload, payloadHex, reply, replyHex, replyBegins,
        replyBeginsHex, silence, command, environment, filePath,
    ]

    private static let http = HTTPCheck(port: 80)

    static let mtuSize = key(
        "size", of: [.mtu], .number(in: 68...65_535, problem: "no size of a packet"), standard: 1480,
        "The size of the ping's packet, which has to reach the real server whole.")

    package static let port = key(
        "port", of: CheckType.withPort, .port,
        OptionHelp("The port of the check.", standard: "the service's first port of the protocol"))

    // MARK: HTTP

    static let httpMethod = key(
        "method", of: CheckType.overHTTP, .text, standard: http.method, "The request's method.")

    package static let httpPath = key(
        "path", of: CheckType.overHTTP, .text, standard: http.path,
        OptionHelp("The request's path.", term: "keepalived url path"))

    package static let httpHost = key(
        "host", of: CheckType.overHTTP, .text,
        OptionHelp("The request's Host.", standard: "the VIP", term: "keepalived virtualhost"))

    static let httpHeaders = FileTexts(
        "headers", of: CheckType.overHTTP, help: "Further header fields of the request.")

    static let httpVersion = key(
        "version", of: CheckType.overHTTP, .choice(called: "version"), standard: HTTPCheck.Version.http11,
        "The version of HTTP.")

    package static let httpStatus = DirectorOption(
        key: "status", in: [.check], of: CheckType.overHTTP, list: true, .statuses,
        help: OptionHelp(
            "The accepted statuses, as 200 or 200-299.",
            standard: http.status.map(ValueSyntax<ClosedRange<Int>>.statuses.format).joined(separator: ", "),
            term: "keepalived status_code"))

    static let bodyContains = DirectorOption(
        key: "body-contains", in: [.check], of: CheckType.overHTTP, list: true, .text,
        help: "Texts that the answer's body has to contain.")

    package static let bodyMatches = DirectorOption(
        key: "body-matches", in: [.check], of: CheckType.overHTTP, list: true, .pattern,
        help: OptionHelp(
            "Regular expressions of PCRE2 that the answer's body has to match.", term: "keepalived regex"))

    package static let bodyDigest = key(
        "body-sha256", of: CheckType.overHTTP, .digest, "The SHA-256 digest that the answer's body has to have.")

    static let bodyLimit = key(
        "body-limit", of: CheckType.overHTTP, .number(in: 0...99_999_999, problem: "no number of bytes"),
        standard: http.bodyLimit,
        "The number of bytes of the answer's body that are searched for texts and expressions.")

    // MARK: gRPC and TLS

    static let grpcService = key(
        "service", of: [.grpc], .text,
        OptionHelp("The gRPC service whose health is queried.", standard: "the server as a whole"))

    static let grpcAuthority = key("authority", of: [.grpc], .text, "The request's :authority.")

    static let grpcTLS = key(
        "tls", of: [.grpc], .flag,
        OptionHelp("Whether the check speaks TLS.", standard: "true with any key of TLS, else false"))

    /// The options of TLS.
    static let tls: [any DeclaredOption] = [serverName, verification, trustRoots, validDays]

    package static let serverName = key(
        "server-name", of: CheckType.overTLS, .text,
        OptionHelp("The name of SNI, which a verified certificate has to be for.", term: "keepalived sni_name"))

    package static let verification = key(
        "verify", of: CheckType.overTLS, .choice(called: "verification"), standard: TLSOptions.Verification.none,
        "The verification of the certificate: none, its chain, or full, which includes the name.")

    static let trustRoots = key(
        "ca-file", of: CheckType.overTLS, .pemFile,
        OptionHelp("A PEM file of trusted authorities.", standard: "the system's"))

    static let validDays = key(
        "valid-days", of: CheckType.overTLS, .number(in: 0...36_500, problem: "no number of days"),
        "The number of days for which the certificate has to be valid still.")

    // MARK: SMTP, DNS and UDP

    package static let helo = key(
        "helo", of: [.smtp], .text, standard: SMTPCheck(port: 25).helo,
        OptionHelp("The name in the HELO.", term: "keepalived helo_name"))

    static let dnsTransport = key(
        "transport", of: [.dns], .choice(called: "transport"), standard: DNSCheck.Transport.udp,
        "The transport of the question.")

    package static let dnsName = key(
        "name", of: [.dns], .domainName, OptionHelp("The queried domain name.", term: "keepalived name"))

    package static let dnsRecord = key(
        "record", of: [.dns], .recordType, standard: DNSRecordType(code: 1),
        OptionHelp("The queried type of record.", term: "keepalived type"))

    static let dnsCodes = DirectorOption(
        key: "codes", in: [.check], of: [.dns], list: true, .number(in: 0...15, problem: "no response code"),
        help: OptionHelp("The accepted response codes.", standard: "0"))

    static let dnsAnswers = DirectorOption(
        key: "answers", in: [.check], of: [.dns], list: true, .text,
        help: "Data of records that the answer has to hold.")

    static let payload = key("payload", of: [.udp], .text, "The datagram's payload, as text.")

    package static let payloadHex = key(
        "payload-hex", of: [.udp], .hexadecimal,
        OptionHelp("The datagram's payload in hexadecimal.", term: "keepalived payload"))

    static let reply = key("reply", of: [.udp], .text, "The reply that is expected, as text.")

    static let replyHex = key("reply-hex", of: [.udp], .hexadecimal, "The reply that is expected, in hexadecimal.")

    static let replyBegins = key("reply-begins", of: [.udp], .text, "The text that the reply has to begin with.")

    package static let replyBeginsHex = key(
        "reply-begins-hex", of: [.udp], .hexadecimal,
        OptionHelp("The bytes that the reply has to begin with, in hexadecimal.", term: "keepalived require_reply"))

    package static let silence = key(
        "silence", of: [.udp], .flag, standard: false, "Whether no reply is a success, too, unless ICMP refuses.")

    // MARK: Scripts and files

    package static let command = DirectorOption(
        key: "command", in: [.check], of: [.script], list: true, .text,
        help: OptionHelp(
            "The program's absolute path, and its arguments. {server} stands for the real server's address. Exit code 0 is a "
                + "success, and a number on the output's first line is the weight.",
            term: "keepalived misc_path"))

    static let environment = FileTexts("environment", of: [.script], help: "Variables of the program's environment.")

    static let filePath = key(
        "path", of: [.file], .absolutePath,
        OptionHelp(
            "The absolute path of a file whose first line is a weight. {server} stands for the real server's address.",
            term: "keepalived file"))

    private static func key<Value>(
        _ name: String, of types: [CheckType], _ syntax: ValueSyntax<Value>, standard: Value? = nil, _ help: OptionHelp
    ) -> DirectorOption<Value> {
        DirectorOption(key: name, in: [.check], of: types, syntax, standard: standard, help: help)
    }
}

// MARK: Forms of values

extension ValueSyntax where Value == UInt16 {
    static var port: ValueSyntax<UInt16> {
        ValueSyntax(
            accepted: "1 to 65535", schema: ["type": "integer", "minimum": .number(1), "maximum": .number(65_535)]
        ) { text throws(InvalidValue) in try AddressText.port(text) }
    }
}

extension ValueSyntax where Value == String {
    /// A domain name. `DNSQuestion` validates it together with the type of record.
    fileprivate static var domainName: ValueSyntax<String> {
        ValueSyntax(accepted: "a domain name", schema: .scalar) {
            text throws(InvalidValue) in text
        }
    }

    /// An absolute path, which `FileCheck` validates.
    fileprivate static var absolutePath: ValueSyntax<String> {
        ValueSyntax(accepted: "an absolute path", schema: .text(matching: "^/")) {
            text throws(InvalidValue) in text
        }
    }

    fileprivate static var pemFile: ValueSyntax<String> {
        ValueSyntax(accepted: "/path/of/a.pem", schema: .text(matching: "^/")) {
            text throws(InvalidValue) in
            guard text.hasPrefix("/") else { throw InvalidValue("no absolute path", accepted: "/path/of/a.pem") }
            return text
        }
    }
}

extension ValueSyntax where Value == ClosedRange<Int> {
    /// A status such as `200`, or a range such as `200-299`.
    fileprivate static var statuses: ValueSyntax<ClosedRange<Int>> {
        ValueSyntax(
            accepted: "100 to 599, or a range as 200-299", schema: ["type": .array(["integer", "string"])],
            format: { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
        ) { text throws(InvalidValue) in
            let parts = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
            let first = try AddressText.number(parts[0], in: 100...599, problem: "no status")
            guard parts.count > 1 else { return first...first }
            return first...(try AddressText.number(parts[1], in: first...599, problem: "no end of a range of statuses"))
        }
    }
}

extension ValueSyntax where Value == Pattern {
    fileprivate static var pattern: ValueSyntax<Pattern> {
        ValueSyntax(accepted: "a regular expression", schema: .scalar) {
            text throws(InvalidValue) in
            do { return try Pattern(text) } catch { throw InvalidValue("\(error)", accepted: "a regular expression") }
        }
    }
}

extension ValueSyntax where Value == DNSRecordType {
    fileprivate static var recordType: ValueSyntax<DNSRecordType> {
        ValueSyntax(
            accepted: "A, AAAA, CNAME, MX, NS, SRV, TXT, …, or TYPE65", schema: ["type": "string"]
        ) { text throws(InvalidValue) in
            guard let type = DNSRecordType(text) else {
                throw InvalidValue("unknown type of record", accepted: "A, AAAA, CNAME, MX, NS, SRV, TXT, …, or TYPE65")
            }
            return type
        }
    }
}

extension ValueSyntax where Value == [UInt8] {
    fileprivate static var hexadecimal: ValueSyntax<[UInt8]> {
        ValueSyntax(
            accepted: "two hexadecimal digits for each byte", schema: ["type": .array(["string", "integer"])]
        ) { text throws(InvalidValue) in try bytes(text) }
    }

    fileprivate static var digest: ValueSyntax<[UInt8]> {
        ValueSyntax(
            accepted: "64 hexadecimal digits", schema: ["type": .array(["string", "integer"])]
        ) { text throws(InvalidValue) in
            guard let digest = try? bytes(text), digest.count == 32 else {
                throw InvalidValue("no SHA-256 digest", accepted: "64 hexadecimal digits")
            }
            return digest
        }
    }

    private static func bytes(_ text: String) throws(InvalidValue) -> [UInt8] {
        let digits = Array(text.utf8)
        guard digits.count % 2 == 0, text.allSatisfy({ $0.isASCII && $0.isHexDigit }) else {
            throw InvalidValue("no bytes in hexadecimal", accepted: "two digits for each byte")
        }
        return stride(from: 0, to: digits.count, by: 2).compactMap {
            UInt8(String(decoding: digits[$0..<$0 + 2], as: UTF8.self), radix: 16)
        }
    }
}

/// The type of a check in the configuration file.
package enum CheckType: String, CaseIterable, Sendable {
    case ping, mtu, tcp, tls, http, https, grpc, smtp, dns, udp, script, file

    /// The types that use TLS, or can use it.
    static let overTLS: [CheckType] = [.tls, .https, .grpc]
    static let overHTTP: [CheckType] = [.http, .https]
    static let withPort: [CheckType] = [.tcp, .tls, .http, .https, .grpc, .smtp, .dns, .udp]
}
