internal import Yams

/// The program of a configuration file that is told of a service's events: `notify: /path`, `notify: [/path, ARGUMENT]`,
/// `notify: {command: [/path, ARGUMENT], timeout: 10s, at-start: true}`, or `notify: none` where the defaults have one.
enum NotifySection {
    static let key = "notify"
    private static let accepted = "/path/of/a/program, a list of it and its arguments, or none"

    static func script(_ section: YAMLSection, _ findings: inout Findings) -> NotificationScript? {
        guard let item = section[key] else { return nil }
        guard item.node.mapping != nil else {
            return command(section, key, &findings).map { NotificationScript(command: $0) }
        }
        guard let own = section.section(key, keys: ["command", "timeout", "at-start"], &findings) else { return nil }
        guard own.has("command") else {
            findings.add(item.place, "there is no command", accepted: "command: [/path, ARGUMENT]")
            return nil
        }
        let timeout = own.has("timeout") ? own.duration("timeout", &findings) : NotificationScript.defaultTimeout
        let tellsAtStart = own.flag("at-start", &findings) ?? false
        guard let command = command(own, "command", &findings), let timeout else { return nil }
        return NotificationScript(command: command, timeout: timeout, tellsAtStart: tellsAtStart)
    }

    /// Nil for none, and after an error.
    private static func command(
        _ section: YAMLSection, _ key: String, _ findings: inout Findings
    ) -> [String]? {
        let items = section.list(key) ?? []
        let words = items.compactMap { $0.text(&findings, accepted: accepted) }
        guard words.count == items.count, let first = items.first else {
            if items.isEmpty, let item = section[key] { findings.add(item.place, "an empty list", accepted: accepted) }
            return nil
        }
        if words == ["none"] { return nil }
        let files = findings.files
        let program = first.value(&findings) { text throws(InvalidValue) in
            try files.program(try NotificationScript.program(text))
        }
        guard program != nil else { return nil }
        if words.contains(where: { $0.utf8.contains(0) }) {
            findings.add(first.place, "an argument has a NUL", accepted: accepted)
            return nil
        }
        return words
    }
}
