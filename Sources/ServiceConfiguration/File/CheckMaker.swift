internal import HealthChecks
internal import LoadBalancing

/// Makes a check of what a configuration file says of it.
struct CheckMaker {
    let section: YAMLSection
    let kind: CheckSection.Kind
    let place: String
    let listeners: [ServiceAddress]

    func check(_ findings: inout Findings) -> Check? {
        switch kind {
        case .ping: return .echo(EchoCheck())
        case .mtu: return mtu(&findings).map(Check.mtu)
        case .tcp: return port(.tcp, &findings).map { .tcp(TCPCheck(port: $0)) }
        case .tls:
            let options = TLSSection.options(section, &findings)
            return port(.tcp, &findings).map { .tls(TLSCheck(port: $0, options: options)) }
        case .http, .https:
            let tls = kind == .https ? TLSSection.options(section, &findings) : nil
            return port(.tcp, &findings).map { .http(HTTPSection.check(section, port: $0, tls: tls, &findings)) }
        case .grpc: return grpc(&findings)
        case .smtp:
            let helo = section.text("helo", &findings)
            guard var check = port(.tcp, standard: 25, &findings).map({ SMTPCheck(port: $0) }) else { return nil }
            if let helo { check.helo = helo }
            return .smtp(check)
        case .dns: return dns(&findings).map(Check.dns)
        case .udp: return udp(&findings).map(Check.udp)
        case .script: return script(&findings).map(Check.script)
        case .file:
            return required("path", accepted: "an absolute path", &findings) { text throws(InvalidCheck) in
                .file(try FileCheck(path: text))
            }
        }
    }

    /// The check's own, or else the service's first of the protocol.
    private func port(
        _ transport: TransportProtocol, standard: UInt16? = nil, _ findings: inout Findings
    ) -> UInt16? {
        if section.has("port") {
            return section.value("port", &findings) { text throws(InvalidValue) in try AddressText.port(text) }
        }
        if let port = listeners.first(where: { $0.transport == transport })?.port ?? standard { return port }
        findings.add(place, "the service has no \(transport.rawValue) port", accepted: "port: 1 to 65535")
        return nil
    }

    /// A value that has to be there, or nil after the error.
    private func required<Value>(
        _ key: String, accepted: String, _ findings: inout Findings, _ body: (String) throws(InvalidCheck) -> Value
    ) -> Value? {
        guard let item = section[key] else {
            findings.add(place, "a check of type \(kind.rawValue) without \(key)", accepted: "\(key): \(accepted)")
            return nil
        }
        return item.value(&findings) { text throws(InvalidValue) in
            do { return try body(text) } catch { throw InvalidValue("\(error)", accepted: accepted) }
        }
    }

    private func mtu(_ findings: inout Findings) -> MTUCheck? {
        guard section.has("size") else { return try? MTUCheck() }
        let size = section.number("size", in: 68...65_535, problem: "no size of a packet", &findings)
        return size.flatMap { try? MTUCheck(size: $0) }
    }

    private func grpc(_ findings: inout Findings) -> Check? {
        let hasOptions = TLSSection.keys.contains(where: section.has)
        let tls = section.flag("tls", &findings) ?? hasOptions
        if !tls, hasOptions, let item = section["tls"] {
            findings.add(item.described, "there are options of TLS", accepted: "true, or none of them")
        }
        let options = tls ? TLSSection.options(section, &findings) : nil
        let service = section.text("service", &findings) ?? ""
        let authority = section.text("authority", &findings)
        return port(.tcp, &findings)
            .map { .grpc(GRPCHealthCheck(port: $0, service: service, authority: authority, tls: options)) }
    }

    private func dns(_ findings: inout Findings) -> DNSCheck? {
        let transport: DNSCheck.Transport = section.choice("transport", called: "transport", &findings) ?? .udp
        let type =
            section.has("record")
            ? section.value("record", &findings) { text throws(InvalidValue) in
                guard let type = DNSRecordType(text) else {
                    throw InvalidValue(
                        "unknown type of record", accepted: "A, AAAA, CNAME, MX, NS, SRV, TXT, …, or TYPE65")
                }
                return type
            } : DNSRecordType(code: 1)
        guard let type else { return nil }
        let question = required("name", accepted: "a domain name", &findings) { text throws(InvalidCheck) in
            try DNSQuestion(name: text, type: type)
        }
        var codes: Set<UInt8> = []
        for item in section.list("codes") ?? [] {
            let code = item.value(&findings) { text throws(InvalidValue) in
                try AddressText.number(text, in: 0...15, problem: "no response code")
            }
            if let code { codes.insert(UInt8(code)) }
        }
        var records: Set<DNSRecordData> = []
        for item in section.list("answers") ?? [] {
            let record = item.value(&findings) { text throws(InvalidValue) in
                do { return try DNSRecordData(text, type: type) } catch {
                    throw InvalidValue("\(error)", accepted: "data of a \(type) record")
                }
            }
            if let record { records.insert(record) }
        }
        let port = port(transport == .udp ? .udp : .tcp, standard: 53, &findings)
        guard let question, let port else { return nil }
        return DNSCheck(
            port: port, transport: transport, question: question, responseCodes: codes.isEmpty ? [0] : codes,
            records: records)
    }

    private func udp(_ findings: inout Findings) -> UDPCheck? {
        func bytes(_ key: String) -> [UInt8]? {
            if section.has("\(key)-hex"), let item = section[key] {
                findings.add(item.place, "there is \(key)-hex, too", accepted: "\(key) or \(key)-hex")
            }
            return section.value("\(key)-hex", &findings, Self.hex)
                ?? section.text(key, &findings).map { Array($0.utf8) }
        }
        let payload = bytes("payload") ?? []
        let equals = bytes("reply")
        let begins = bytes("reply-begins")
        let silence = section.flag("silence", &findings) ?? false
        if [equals != nil, begins != nil, silence].filter(\.self).count > 1 {
            findings.add(place, "more than one reply is asked for", accepted: "reply, reply-begins or silence")
        }
        let reply: UDPCheck.Reply =
            if let equals { .equals(equals) } else if let begins { .startsWith(begins) } else if silence {
                .optional
            } else { .any }
        return port(.udp, &findings).map { UDPCheck(port: $0, payload: payload, reply: reply) }
    }

    static func hex(_ text: String) throws(InvalidValue) -> [UInt8] {
        let digits = Array(text.utf8)
        guard digits.count % 2 == 0, text.allSatisfy({ $0.isASCII && $0.isHexDigit }) else {
            throw InvalidValue("no bytes in hexadecimal", accepted: "two digits for each byte")
        }
        return stride(from: 0, to: digits.count, by: 2).compactMap {
            UInt8(String(decoding: digits[$0..<$0 + 2], as: UTF8.self), radix: 16)
        }
    }

    private func script(_ findings: inout Findings) -> ScriptCheck? {
        guard let items = section.list("command") else {
            findings.add(place, "a script without command", accepted: "command: [/absolute/path, ARGUMENT…]")
            return nil
        }
        let arguments = items.compactMap { $0.text(&findings) }
        let environment = Dictionary(section.texts("environment", &findings), uniquingKeysWith: { one, _ in one })
        let files = findings.files
        return findings.attempt(section["command"]?.described ?? place) { () throws(InvalidValue) in
            let check: ScriptCheck
            do { check = try ScriptCheck(arguments: arguments, environment: environment) } catch {
                throw InvalidValue("\(error)", accepted: "[/absolute/path, ARGUMENT…]")
            }
            // What differs from real server to real server is seen when it is asked.
            if let program = arguments.first, !program.contains("{server}") { _ = try files.program(program) }
            return check
        }
    }
}
