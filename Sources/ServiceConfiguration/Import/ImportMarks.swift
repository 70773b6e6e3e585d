internal import LoadBalancing

/// Services of firewall marks: what they mean stands in the firewall's rules.
enum ImportMarks {
    static func listen(
        to mark: UInt32, isIPv6: Bool, at place: SourcePlace, _ options: Import, _ service: inout ImportedService
    ) {
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
