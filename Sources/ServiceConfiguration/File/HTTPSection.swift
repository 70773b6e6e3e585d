internal import HealthChecks

/// A check of type http or https of a configuration file.
enum HTTPSection {
    static let keys = [
        "port", "method", "path", "host", "headers", "version", "status", "body-contains", "body-matches",
        "body-sha256", "body-limit",
    ]

    static func check(
        _ section: YAMLSection, port: UInt16, tls: TLSOptions?, _ findings: inout Findings
    ) -> HTTPCheck {
        var check = HTTPCheck(port: port, tls: tls)
        if let method = section.text("method", &findings) { check.method = method }
        if let path = section.text("path", &findings) { check.path = path }
        check.host = section.text("host", &findings)
        check.fields = section.texts("headers", &findings).map { HTTPCheck.Field($0.key, $0.value) }
        check.version = section.choice("version", called: "version", &findings) ?? .http11
        let status = (section.list("status") ?? []).compactMap { $0.value(&findings, Self.statuses) }
        if !status.isEmpty { check.status = status }
        check.body = expectations(section, &findings)
        check.bodyLimit =
            section.number("body-limit", in: 0...99_999_999, problem: "no number of bytes", &findings)
            ?? check.bodyLimit
        return check
    }

    private static func expectations(
        _ section: YAMLSection, _ findings: inout Findings
    ) -> [HTTPCheck.Expectation] {
        var body: [HTTPCheck.Expectation] = []
        for item in section.list("body-contains") ?? [] {
            if let text = item.text(&findings) { body.append(.contains(text)) }
        }
        for item in section.list("body-matches") ?? [] {
            let pattern = item.value(&findings) { text throws(InvalidValue) in
                do { return try Pattern(text) } catch {
                    throw InvalidValue("\(error)", accepted: "a regular expression")
                }
            }
            if let pattern { body.append(.matches(pattern)) }
        }
        let digest = section.value("body-sha256", &findings) { text throws(InvalidValue) in
            guard let digest = try? CheckMaker.hex(text), digest.count == 32 else {
                throw InvalidValue("no SHA-256 digest", accepted: "64 hexadecimal digits")
            }
            return digest
        }
        if let digest { body.append(.sha256(digest)) }
        return body
    }

    /// `200` or `200-299`.
    private static func statuses(_ text: String) throws(InvalidValue) -> ClosedRange<Int> {
        let parts = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        let first = try AddressText.number(parts[0], in: 100...599, problem: "no status")
        guard parts.count > 1 else { return first...first }
        return first...(try AddressText.number(parts[1], in: first...599, problem: "no end of a range of statuses"))
    }
}
