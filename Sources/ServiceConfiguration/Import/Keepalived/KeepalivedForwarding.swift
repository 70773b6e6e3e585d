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
    private let place: SourcePlace

    init(_ statement: KeepalivedStatement) throws(InvalidValue) {
        title = statement.title
        place = statement.place
        switch try statement.value("NAT, DR or TUN", more: true) {
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

    private init(way: Way, title: String, place: SourcePlace) {
        self.way = way
        self.title = title
        self.place = place
    }

    /// Of a virtual server that says none.
    static func standard(at place: SourcePlace) -> KeepalivedForwarding {
        KeepalivedForwarding(way: .masquerading, title: "no lvs_method: NAT, keepalived's default,", place: place)
    }

    func leave(port: UInt16?, isServers: Bool, _ service: ImportedService, _ server: inout ImportedServer) {
        let said = ImportServers.Way(title: title, place: place, isServers: isServers)
        switch way {
        case .gatewaying: ImportServers.leaveGatewaying(said, service, &server)
        case .masquerading: ImportServers.leaveMasquerading(said, port: port, service, &server)
        case .tunnel(let type):
            if type != "ipip" { ImportServers.leaveTunnel(type: type, said, service, &server) }
        }
    }

    var isMasquerading: Bool { if case .masquerading = way { true } else { false } }
}
