internal import LoadBalancing

/// The director's own.
extension DirectorFlags {
    func interfaceNames(_ findings: inout Findings) -> [String] {
        guard !interfaces.isEmpty else { return [] }
        var names: [String] = []
        for item in items(of: interfaces, flag: "--interface", accepted: InterfaceName.accepted, &findings) {
            let place = Self.place("--interface", item)
            findings.attempt(place) { () throws(InvalidValue) in try InterfaceName.validate(String(item)) }
            if names.contains(String(item)) {
                findings.add(place, "\(item) is given twice", accepted: "each interface once")
            }
            names.append(String(item))
        }
        return names
    }

    func timeouts(_ findings: inout Findings) -> Timeouts {
        var timeouts = Timeouts()
        func take(_ text: String?, flag: String, into path: WritableKeyPath<Timeouts, Int>) {
            if let value = seconds(text, flag: flag, in: Timeouts.range, &findings) { timeouts[keyPath: path] = value }
        }
        take(tcpTimeout, flag: "--tcp-timeout", into: \.tcp)
        take(tcpFinTimeout, flag: "--tcp-fin-timeout", into: \.tcpFin)
        take(udpTimeout, flag: "--udp-timeout", into: \.udp)
        return timeouts
    }
}
