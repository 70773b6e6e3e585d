internal import Addresses
internal import LoadBalancing
internal import ServiceConfiguration

/// The parser of addresses and ranges in a keepalived.conf, where hosts' names are not accepted.
enum KeepalivedAddresses {
    /// The largest number of addresses of a range that become listeners.
    static let mostListeners = 4096

    static func host(_ text: String) throws(InvalidValue) -> ImportNames.Host {
        if let address = IPv4Address(text) { return .ipv4(.v4(address)) }
        guard text.utf8.contains(58),
            text.unicodeScalars.allSatisfy({ ASCIIText.isNamePart($0) || ":.%-/".unicodeScalars.contains($0) })
        else { throw InvalidValue("\(AddressText.quoted(text)) is no address", accepted: "A.B.C.D") }
        return .ipv6(text)
    }

    /// Parses the word at `index` as a port. A missing word, and port 0, become nil.
    static func port(_ statement: KeepalivedStatement, at index: Int) throws(InvalidValue) -> UInt16? {
        guard statement.words.count > index else { return nil }
        let port = try statement.number(statement.words[index], in: 0...65_535, called: "port")
        return port == 0 ? nil : UInt16(port)
    }

    /// Parses `A.B.C.D`, `A.B.C.D-E`, `A.B.C.D-E.F.G.H` or `A.B.C.D/LENGTH`. The addresses are in host byte order. An
    /// IPv6 range becomes nil.
    static func range(_ text: String) throws(InvalidValue) -> ClosedRange<UInt32>? {
        let accepted = "A.B.C.D, A.B.C.D-E, A.B.C.D-E.F.G.H or A.B.C.D/LENGTH"
        if text.contains(":") { return nil }
        func bad(_ problem: String) -> InvalidValue {
            InvalidValue("\(AddressText.quoted(text)): \(problem)", accepted: accepted)
        }
        let separator: Character = text.contains("/") ? "/" : "-"
        let parts = text.split(separator: separator, maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = IPv4Address(String(parts[0])) else { throw bad("no address") }
        guard parts.count > 1 else { return first.value...first.value }
        if separator == "/" {
            guard let length = try? AddressText.number(parts[1], in: 1...32, problem: "") else {
                throw bad("no length of a prefix")
            }
            let rest = length == 32 ? 0 : UInt32.max >> UInt32(length)
            guard first.value & rest == 0 else { throw bad("bits behind the prefix") }
            return first.value...(first.value | rest)
        }
        let last: UInt32
        if let address = IPv4Address(String(parts[1])) {
            last = address.value
        } else if let octet = try? AddressText.number(parts[1], in: 0...255, problem: "") {
            last = first.value & 0xFFFF_FF00 | UInt32(octet)
        } else {
            throw bad("no end of a range")
        }
        guard last >= first.value else { throw bad("the end is before the start") }
        return first.value...last
    }
}

/// A virtual_server_group, which is a list of listeners.
struct KeepalivedGroup {
    enum Entry {
        case addresses(ClosedRange<UInt32>, port: UInt16?)
        case ipv6(String)
        case mark(UInt32, isIPv6: Bool)
    }

    var entries: [(entry: Entry, place: SourcePlace)] = []

    init(_ statement: KeepalivedStatement) {
        for line in statement.statements {
            line.attempt { () throws(InvalidValue) in
                if line.keyword == "fwmark" {
                    let mark = try line.number(
                        try line.value("N", more: true), in: 1...4_294_967_295, called: "firewall mark")
                    entries.append(
                        (.mark(UInt32(mark), isIPv6: line.words.count > 2 && line.words[2] == "inet6"), line.place))
                } else if let range = try KeepalivedAddresses.range(line.keyword) {
                    entries.append((.addresses(range, port: try KeepalivedAddresses.port(line, at: 1)), line.place))
                } else {
                    entries.append((.ipv6(line.keyword), line.place))
                }
            }
        }
    }

    /// Adds the group's listeners to one service. keepalived makes each of them a service of its own.
    func listen(_ transport: TransportProtocol, _ options: Import, _ service: inout ImportedService) {
        for (entry, place) in entries {
            switch entry {
            case .ipv6(let text): service.remark(.left, place, "\(text): ipvsd balances IPv4 only")
            case .mark(let mark, let isIPv6):
                ImportMarks.listen(to: mark, isIPv6: isIPv6, at: place, options, &service)
            case .addresses(let range, let port):
                guard range.count <= KeepalivedAddresses.mostListeners else {
                    service.remark(
                        .left, place,
                        "\(range.count) addresses: \(KeepalivedAddresses.mostListeners) at most are "
                            + "written out")
                    continue
                }
                for value in range {
                    let vip = IPAddress.v4(IPv4Address(value))
                    guard vip.isUnicast else {
                        service.remark(.left, place, "\(vip): it is no host's address")
                        break
                    }
                    service.listeners.append(ImportedListener(vip: vip, port: port, transport: transport))
                }
            }
        }
    }
}
