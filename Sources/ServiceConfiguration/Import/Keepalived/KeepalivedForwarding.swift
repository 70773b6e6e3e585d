/// lvs_method, or lb_kind: `NAT`, `DR` or `TUN [type ipip|gue|gre …]`.
struct KeepalivedForwarding {
    enum Way {
        case masquerading
        case gatewaying
        case tunnel(type: String)
    }

    let way: Way
    /// As it was written.
    let title: String

    init(_ statement: KeepalivedStatement) throws(InvalidValue) {
        title = statement.title
        switch try statement.value("NAT, DR or TUN") {
        case "NAT": way = .masquerading
        case "DR": way = .gatewaying
        case "TUN":
            let words = Array(statement.values)
            let type = words.firstIndex(of: "type").flatMap { words.indices.contains($0 + 1) ? words[$0 + 1] : nil }
            way = .tunnel(type: type ?? "ipip")
        case let other:
            throw InvalidValue("\(statement.keyword) \(AddressText.quoted(other))", accepted: "NAT, DR or TUN")
        }
    }

    private init(way: Way, title: String) {
        self.way = way
        self.title = title
    }

    /// Where none is said.
    static let standard = KeepalivedForwarding(way: .masquerading, title: "no lvs_method: NAT, keepalived's default,")

    func leave(port: UInt16?, _ service: ImportedService, _ server: inout ImportedServer) {
        switch way {
        case .gatewaying: ImportServers.leaveGatewaying(title, service, &server)
        case .masquerading: ImportServers.leaveMasquerading(title, port: port, service, &server)
        case .tunnel(let type):
            if type != "ipip" { ImportServers.leaveTunnel(title, type: type, service, &server) }
        }
    }

    var isMasquerading: Bool { if case .masquerading = way { true } else { false } }
}
