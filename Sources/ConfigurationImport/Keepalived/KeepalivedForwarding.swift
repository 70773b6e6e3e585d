internal import LoadBalancing
internal import ServiceConfiguration

/// The value of lvs_method or lb_kind: `NAT`, `DR` or `TUN [type ipip|gue|gre …]`.
struct KeepalivedForwarding {
    enum Way {
        case masquerading
        case gatewaying
        case tunnel(type: String)
    }

    let way: Way
    /// The line's words, or a text in its place, for remarks.
    let title: String
    private let place: SourcePlace

    init(_ statement: KeepalivedStatement) throws(InvalidValue) {
        title = statement.title
        place = statement.place
        switch try statement.value("NAT, DR or TUN", more: true) {
        case "NAT": way = .masquerading
        case "DR": way = .gatewaying
        case "TUN":
            way = .tunnel(type: try Self.tunnelType(statement))
        case let other:
            throw InvalidValue("\(statement.keyword) \(AddressText.quoted(other))", accepted: "NAT, DR or TUN")
        }
    }

    /// Returns the type in `TUN [type ipip|gue|gre] [port N] [csum|nocsum|remcsum]`. keepalived ignores the whole line
    /// if one word is wrong.
    private static func tunnelType(_ statement: KeepalivedStatement) throws(InvalidValue) -> String {
        func invalid(_ problem: String) -> InvalidValue {
            InvalidValue(
                "\(statement.title): \(problem)", accepted: "TUN type ipip, TUN type gue port N, or TUN type gre")
        }
        var type = "ipip"
        var port = 0
        var checksum: String?
        var rest = statement.values.dropFirst()
        while let word = rest.popFirst() {
            switch word {
            case "type":
                guard let next = rest.popFirst(), ["ipip", "gue", "gre"].contains(next) else {
                    throw invalid("no type of a tunnel")
                }
                type = next
            case "port":
                guard let next = rest.popFirst() else { throw invalid("no port") }
                port = try statement.number(next, in: 1...65_535, called: "port", isExact: true)
            case "nocsum", "csum", "remcsum": checksum = word == "nocsum" ? nil : word
            default: throw invalid("unknown \(AddressText.quoted(word))")
            }
        }
        guard (type == "gue") == (port != 0) else { throw invalid("a port is of gue, and gue has one") }
        guard checksum == nil || type == "gue" || type == "gre" && checksum == "csum" else {
            throw invalid("\(type) has no \(checksum ?? "")")
        }
        return type
    }

    private init(way: Way, title: String, place: SourcePlace) {
        self.way = way
        self.title = title
        self.place = place
    }

    /// Returns the forwarding of a virtual server without lvs_method, which is masquerading.
    static func standard(at place: SourcePlace) -> KeepalivedForwarding {
        KeepalivedForwarding(way: .masquerading, title: "no lvs_method: NAT, keepalived's default,", place: place)
    }

    func replace(port: UInt16?, isServers: Bool, _ service: ImportedService, _ server: inout ImportedServer) {
        let line = ImportServers.Way(title: title, place: place, isServers: isServers)
        switch way {
        case .gatewaying: ImportServers.replaceGatewaying(line, service, &server)
        case .masquerading: ImportServers.replaceMasquerading(line, port: port, service, &server)
        case .tunnel(let type):
            if type != "ipip" { ImportServers.replaceTunnel(type: type, line, service, &server) }
        }
    }

    var isMasquerading: Bool { if case .masquerading = way { true } else { false } }
}
