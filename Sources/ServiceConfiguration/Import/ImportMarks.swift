internal import LoadBalancing

/// Services of firewall marks: what they mean stands in the firewall's rules.
enum ImportMarks {
    static func listen(to mark: UInt32, _ isIPv6: Bool, _ options: Import, _ service: inout ImportedService) {
        if isIPv6 {
            service.remark(.left, service.place, "\(service.title): ipvsd balances IPv4 only")
        } else if let listeners = options.marks[mark] {
            service.listeners += listeners.map(ImportedListener.init)
        } else {
            service.remark(
                .left, service.place,
                "\(service.title): ipvsd has no firewall marks, but services of several listeners; say which packets "
                    + "have the mark: --fwmark \(mark)=A.B.C.D:PORT,A.B.C.D:PORT")
        }
    }
}
