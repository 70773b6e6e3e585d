internal import HealthChecks
internal import LoadBalancing

extension DirectorConfiguration {
    /// What an operator should know of a configuration that is good.
    public var notes: [String] {
        services.flatMap { service -> [String] in
            guard case .listed(let checks) = service.checks else { return [] }
            return checks.flatMap { check -> [String] in
                guard case .http(let http) = check.check else { return [] }
                return http.body.compactMap { expectation in
                    guard case .matches(let pattern) = expectation, !pattern.changes.isEmpty else { return nil }
                    let expression = AddressText.quoted(pattern.description)
                    return
                        "\(service.address): \(check.check): \(Options.bodyMatches.keyName) \(expression) is read by PCRE2, as grep -P does, "
                        + "and may mean something else: \(pattern.changes.joined(separator: "; "))"
                }
            }
        }
    }
}
