internal import Addresses
internal import HealthChecks
internal import LoadBalancing

/// The maker of a check from the check's mapping in a configuration file.
struct CheckMaker {
    let section: YAMLSection
    let type: CheckType
    /// The service's listeners, or nil if one of them is bad.
    let listeners: [ServiceAddress]?

    func check(_ findings: inout Findings) -> Check? {
        switch type {
        case .ping: return .echo(EchoCheck())
        case .mtu:
            let size = section.setting(of: Options.mtuSize, &findings)
            return (try? MTUCheck(size: size)).map(Check.mtu)
        case .tcp: return port(.tcp, &findings).map { .tcp(TCPCheck(port: $0)) }
        case .tls:
            let options = tlsOptions(&findings)
            return port(.tcp, &findings).map { .tls(TLSCheck(port: $0, options: options)) }
        case .http, .https:
            let tls = type == .https ? tlsOptions(&findings) : nil
            // The other keys are read even without a port, so that all errors of the check are noted.
            let port = port(.tcp, &findings)
            let check = http(port: port ?? 0, tls: tls, &findings)
            return port.map { _ in .http(check) }
        case .grpc: return grpc(&findings)
        case .smtp:
            let helo = section.setting(of: Options.helo, &findings)
            return port(.tcp, standard: 25, &findings).map { .smtp(SMTPCheck(port: $0, helo: helo)) }
        case .dns: return dns(&findings).map(Check.dns)
        case .udp: return udp(&findings).map(Check.udp)
        case .script: return script(&findings).map(Check.script)
        case .file:
            return required(Options.filePath, &findings) { text throws(InvalidCheck) in
                .file(try FileCheck(path: text))
            }
        }
    }

    /// Returns the check's own port, or else the service's first port of the protocol, or else `standard`. Returns nil
    /// after an error.
    private func port(
        _ transport: TransportProtocol, standard: UInt16? = nil, _ findings: inout Findings
    ) -> UInt16? {
        if section.has(Options.port) { return section.value(of: Options.port, &findings) }
        guard let listeners else { return nil }
        if let port = listeners.first(where: { $0.transport == transport })?.port ?? standard { return port }
        findings.add(
            section.place, "the service has no \(transport.rawValue) port",
            accepted: "\(Options.port.keyName): \(Options.port.accepted)")
        return nil
    }

    /// Returns the result of `body` for the text of a required option. Returns nil after noting that the option is
    /// missing or has a bad value.
    private func required<Result>(
        _ option: DirectorOption<String>, _ findings: inout Findings,
        _ body: (String) throws(InvalidCheck) -> Result
    ) -> Result? {
        guard let item = section.item(of: option) else {
            findings.add(
                section.place, "a check of type \(type.rawValue) without \(option.keyName)",
                accepted: "\(option.keyName): \(option.accepted)")
            return nil
        }
        return findings.attempt(item.place) { () throws(InvalidValue) in
            let text = try item.value.get()
            do { return try body(text) } catch { throw InvalidValue("\(error)", accepted: option.accepted) }
        }
    }

    // MARK: HTTP

    private func http(port: UInt16, tls: TLSOptions?, _ findings: inout Findings) -> HTTPCheck {
        var check = HTTPCheck(port: port, tls: tls)
        section.read(Options.httpMethod, into: &check.method, &findings)
        section.read(Options.httpPath, into: &check.path, &findings)
        section.read(Options.httpHost, into: &check.host, &findings)
        check.fields = section.texts(of: Options.httpHeaders, &findings).map { HTTPCheck.Field($0.key, $0.value) }
        section.read(Options.httpVersion, into: &check.version, &findings)
        let status = section.values(of: Options.httpStatus, &findings)
        if !status.isEmpty { check.status = status }
        check.body = section.values(of: Options.bodyContains, &findings).map { .contains($0) }
        check.body += section.values(of: Options.bodyMatches, &findings).map { .matches($0) }
        if let digest = section.value(of: Options.bodyDigest, &findings) { check.body.append(.sha256(digest)) }
        section.read(Options.bodyLimit, into: &check.bodyLimit, &findings)
        return check
    }

    // MARK: TLS and gRPC

    private func tlsOptions(_ findings: inout Findings) -> TLSOptions {
        var options = TLSOptions()
        section.read(Options.serverName, into: &options.serverName, &findings)
        section.read(Options.verification, into: &options.verification, &findings)
        let files = findings.files
        let file = section.value(of: Options.trustRoots, &findings) { path throws(InvalidValue) in
            _ = try files.text(path)
        }
        if let file { options.trustRoots = .file(file) }
        options.minimumValidity = section.value(of: Options.validDays, &findings).map { .seconds($0 * 86_400) }
        return options
    }

    private func grpc(_ findings: inout Findings) -> Check? {
        let hasOptions = Options.tls.contains(where: section.has)
        let tls = section.value(of: Options.grpcTLS, &findings) ?? hasOptions
        if !tls, hasOptions, section.has(Options.grpcTLS) {
            findings.add(
                section.place(of: Options.grpcTLS), "there are options of TLS", accepted: "true, or none of them")
        }
        let options = tls ? tlsOptions(&findings) : nil
        let service = section.value(of: Options.grpcService, &findings) ?? ""
        let authority = section.value(of: Options.grpcAuthority, &findings)
        return port(.tcp, &findings)
            .map { .grpc(GRPCHealthCheck(port: $0, service: service, authority: authority, tls: options)) }
    }

    // MARK: DNS and UDP

    private func dns(_ findings: inout Findings) -> DNSCheck? {
        let transport = section.setting(of: Options.dnsTransport, &findings)
        let type =
            section.has(Options.dnsRecord)
            ? section.value(of: Options.dnsRecord, &findings) : Options.dnsRecord.standard
        guard let type else { return nil }
        let question = required(Options.dnsName, &findings) { text throws(InvalidCheck) in
            try DNSQuestion(name: text, type: type)
        }
        let codes = Set(section.values(of: Options.dnsCodes, &findings).map(UInt8.init))
        let records = (section.list(of: Options.dnsAnswers, &findings) ?? []).compactMap { item in
            findings.attempt(item.place) { () throws(InvalidValue) in
                let text = try item.value.get()
                do { return try DNSRecordData(text, type: type) } catch {
                    throw InvalidValue("\(error)", accepted: "data of a \(type) record")
                }
            }
        }
        let port = port(transport == .udp ? .udp : .tcp, standard: 53, &findings)
        guard let question, let port else { return nil }
        return DNSCheck(
            port: port, transport: transport, question: question, responseCodes: codes.isEmpty ? [0] : codes,
            records: Set(records))
    }

    private func udp(_ findings: inout Findings) -> UDPCheck? {
        let payload = bytes(Options.payload, Options.payloadHex, &findings) ?? []
        let equals = bytes(Options.reply, Options.replyHex, &findings)
        let begins = bytes(Options.replyBegins, Options.replyBeginsHex, &findings)
        let silence = section.setting(of: Options.silence, &findings)
        if [equals != nil, begins != nil, silence].filter(\.self).count > 1 {
            let keys = [Options.reply.keyName, Options.replyBegins.keyName].joined(separator: ", ")
            findings.add(
                section.place, "more than one expected reply", accepted: "\(keys) or \(Options.silence.keyName)")
        }
        let reply: UDPCheck.Reply =
            if let equals { .equals(equals) } else if let begins { .startsWith(begins) } else if silence {
                .optional
            } else { .any }
        return port(.udp, &findings).map { UDPCheck(port: $0, payload: payload, reply: reply) }
    }

    /// Returns the bytes of whichever option is present: `text` has them as text, and `hexadecimal` as digits. Returns
    /// nil if there is neither, and after an error.
    private func bytes(
        _ text: DirectorOption<String>, _ hexadecimal: DirectorOption<[UInt8]>, _ findings: inout Findings
    ) -> [UInt8]? {
        if section.has(text), section.has(hexadecimal), let item = section[text] {
            findings.add(
                item.place, "there is \(hexadecimal.keyName), too",
                accepted: "\(text.keyName) or \(hexadecimal.keyName)")
        }
        return section.value(of: hexadecimal, &findings) ?? section.value(of: text, &findings).map { Array($0.utf8) }
    }

    // MARK: Scripts

    private func script(_ findings: inout Findings) -> ScriptCheck? {
        let accepted = "[/absolute/path, ARGUMENT…]"
        guard section.has(Options.command) else {
            let key = Options.command.keyName
            findings.add(section.place, "a script without \(key)", accepted: "\(key): \(accepted)")
            return nil
        }
        let arguments = section.values(of: Options.command, &findings)
        let environment = Dictionary(
            section.texts(of: Options.environment, &findings), uniquingKeysWith: { one, _ in one })
        let files = findings.files
        return findings.attempt(section.place(of: Options.command)) { () throws(InvalidValue) in
            let check: ScriptCheck
            do { check = try ScriptCheck(arguments: arguments, environment: environment) } catch {
                throw InvalidValue("\(error)", accepted: accepted)
            }
            // A path that depends on the real server is checked when the program runs.
            if let program = arguments.first, !program.contains("{server}") { _ = try files.program(program) }
            return check
        }
    }
}
