internal import Addresses
internal import LoadBalancing
internal import ServiceConfiguration

/// Hosts and ports as ipvsadm and keepalived write them, with names where somebody did.
struct ImportNames {
    let surroundings: ImportSurroundings

    enum Host {
        case ipv4(IPAddress)
        case ipv6(String)
    }

    /// `HOST`, `HOST:PORT`, `[IPV6]`, `[IPV6]:PORT`. Port 0 is none.
    func endpoint(
        _ text: String, transport: TransportProtocol, _ note: (String) -> Void = { _ in }
    ) throws(InvalidValue) -> (host: Host, port: UInt16?) {
        let (hostText, portText) = Self.parts(text)
        let host = try host(hostText, note)
        guard let portText else { return (host, nil) }
        return (host, try port(portText, transport: transport))
    }

    static func parts(_ text: String) -> (host: String, port: String?) {
        if text.hasPrefix("[") {
            let parts = text.dropFirst().split(separator: "]", maxSplits: 1, omittingEmptySubsequences: false)
            let rest = parts.count > 1 ? parts[1] : ""
            return (String(parts[0]), rest.hasPrefix(":") ? String(rest.dropFirst()) : nil)
        }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        return parts.count == 2 ? (String(parts[0]), String(parts[1])) : (text, nil)
    }

    func host(_ text: String, _ note: (String) -> Void = { _ in }) throws(InvalidValue) -> Host {
        if let address = IPv4Address(text) { return .ipv4(.v4(address)) }
        if text.contains(":"), text.allSatisfy({ $0.isHexDigit || ":.%".contains($0) || $0.isLetter }) {
            return .ipv6(text)
        }
        let isName =
            text.contains(where: \.isLetter) && text.allSatisfy { $0.isLetter || $0.isNumber || "-._".contains($0) }
        guard isName else {
            throw InvalidValue("\(AddressText.quoted(text)) is no address", accepted: "A.B.C.D, or a host's name")
        }
        let addresses = surroundings.addresses(text)
        guard let first = addresses.first else {
            throw InvalidValue(
                "no IPv4 address of \(text) is known here",
                accepted: "addresses, as of 'ipvsadm -S -n' where the rules are")
        }
        let others = addresses.count > 1 ? ", the first of its \(addresses.count) addresses" : ""
        note("\(text) is \(first) here and now\(others)")
        return .ipv4(first)
    }

    /// Nil: 0.
    func port(_ text: String, transport: TransportProtocol) throws(InvalidValue) -> UInt16? {
        if text.allSatisfy({ $0.isASCII && $0.isNumber }) {
            guard !text.isEmpty, text.count <= 5, let port = UInt16(text) else {
                throw InvalidValue("port \(AddressText.quoted(text)) is no port", accepted: "0 to 65535")
            }
            return port == 0 ? nil : port
        }
        guard let port = surroundings.port(text, transport) else {
            throw InvalidValue(
                "no \(transport.rawValue) port is called \(AddressText.quoted(text)) here", accepted: "0 to 65535")
        }
        return port
    }

    /// 10.0.0.1 and the like: what a director can send to.
    static func unusable(_ address: IPAddress) -> String? {
        if address.isLoopback {
            return "a director that serves itself is named by another of its own addresses"
        }
        return address.isUnicast ? nil : "it is no host's address"
    }
}
