internal import LoadBalancing
internal import ServiceConfiguration

/// Services of firewall marks: what they mean stands in the firewall's rules.
enum ImportMarks {
    /// What is said of marks that the source does not have was meant for others.
    static func check(_ options: Import, _ file: ImportedFile) throws(ConfigurationErrors) {
        let known = Set(file.services.flatMap(\.marks))
        let unknown = Set(options.marks.keys).subtracting(known).sorted()
        guard !unknown.isEmpty else { return }
        let accepted =
            known.isEmpty
            ? "none, as there is no such service" : known.sorted().map(String.init).joined(separator: ", ")
        throw ConfigurationErrors(
            unknown.map {
                ConfigurationError(
                    place: "--fwmark \($0)", problem: "no service of \(file.name) has this mark", accepted: accepted)
            })
    }

    static func listen(
        to mark: UInt32, isIPv6: Bool, at place: SourcePlace, _ options: Import, _ service: inout ImportedService
    ) {
        service.marks.insert(mark)
        if isIPv6 {
            service.remark(.left, place, "firewall mark \(mark) of IPv6: ipvsd balances IPv4 only")
        } else if let listeners = options.marks[mark] {
            service.listeners += listeners.map(ImportedListener.init)
        } else {
            service.remark(
                .left, place,
                "firewall mark \(mark): ipvsd has none, but services of several listeners; say which packets have the "
                    + "mark: --fwmark \(mark)=A.B.C.D:PORT,A.B.C.D:PORT")
        }
    }
}
