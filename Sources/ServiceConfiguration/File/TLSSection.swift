internal import HealthChecks

/// How a check of a configuration file speaks TLS.
enum TLSSection {
    static let keys = ["server-name", "verify", "ca-file", "valid-days"]

    static func options(_ section: YAMLSection, _ findings: inout Findings) -> TLSOptions {
        var options = TLSOptions()
        options.serverName = section.text("server-name", &findings)
        options.verification = section.choice("verify", called: "verification", &findings) ?? .none
        let files = findings.files
        let file = section.value("ca-file", &findings) { text throws(InvalidValue) in
            guard text.hasPrefix("/") else { throw InvalidValue("no absolute path", accepted: "/path/of/a.pem") }
            return try files.text(text)
        }
        if let file { options.trustRoots = .file(file) }
        options.minimumValidity =
            section.number("valid-days", in: 0...36_500, problem: "no number of days", &findings)
            .map { .seconds($0 * 86_400) }
        return options
    }
}
