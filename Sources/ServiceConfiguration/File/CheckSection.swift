internal import HealthChecks
internal import LoadBalancing
internal import Yams

/// The checks of a service in a configuration file.
enum CheckSection {
    /// Returns the service's check or list of checks, or nil after an error. `listeners` is nil if one of the service's
    /// listeners is bad.
    static func checks(
        _ section: YAMLSection, pace: CheckPaceReading, listeners: [ServiceAddress]?, _ findings: inout Findings
    ) -> ServiceChecks? {
        let via = section.setting(of: Options.via, &findings)
        guard let items = section.items(of: Options.checkList) else {
            // The service's check goes to its first listener.
            return section.checkKind(listeners: (listeners ?? []).prefix(1), &findings)
                .map { .policy(CheckPolicy(kind: $0, pace: pace.pace)) }
        }
        let (check, list) = (Options.check.keyName, Options.checkList.keyName)
        if section.has(Options.check) {
            findings.add(
                section.place(of: Options.check), "there are \(list), too", accepted: "\(check) or \(list)")
        }
        var checks: [ServiceCheck] = []
        for item in items {
            guard let found = one(item, pace: pace, via: via, listeners: listeners, &findings) else { continue }
            if checks.contains(where: { $0.check == found.check && $0.via == found.via }) {
                findings.add(item.place, "the same check twice", accepted: "each check once")
            }
            checks.append(found)
        }
        if items.isEmpty {
            findings.add(section.place(of: Options.checkList), "an empty list", accepted: "\(check): none, or \(list)")
        }
        return checks.isEmpty ? nil : .listed(checks)
    }

    private static func one(
        _ item: YAMLItem, pace: CheckPaceReading, via: Check.Via, listeners: [ServiceAddress]?,
        _ findings: inout Findings
    ) -> ServiceCheck? {
        let type = Options.checkType
        let known = item.node.mapping?[type.keyName]?.scalar.flatMap { CheckType(rawValue: $0.string) }
        let section = YAMLSection(item.node, .check, type: known, place: item.place, file: item.file, &findings)
        guard let section else { return nil }
        guard section.has(type) else {
            findings.add(
                item.place, "a check without \(type.keyName)", accepted: "\(type.keyName): \(type.accepted)")
            return nil
        }
        guard let kind = section.value(of: type, &findings) else { return nil }
        let own = CheckPaceReading(section, inheriting: pace, &findings)
        let ownVia = section.value(of: Options.via, &findings) ?? via
        let before = findings.errors.count
        let maker = CheckMaker(section: section, type: kind, listeners: listeners)
        guard let check = maker.check(&findings), findings.errors.count == before else { return nil }
        if let problem = check.problem {
            findings.add(item.place, "\(problem)", accepted: "what the protocol can carry")
            return nil
        }
        return ServiceCheck(check, via: ownVia, pace: own.pace)
    }
}
