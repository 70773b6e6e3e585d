internal import Addresses
internal import LoadBalancing
internal import ServiceConfiguration

/// The parser of a source's hosts and ports, both of which may be names.
struct ImportNames {
    let surroundings: ImportSurroundings

    enum Host {
        case ipv4(IPAddress)
        case ipv6(String)
    }

    /// Parses `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`. Port 0 means every port, and becomes nil. `note` gets the
    /// address that was found for a host's name.
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

    /// Parses a port's number or name. Port 0 means every port, and becomes nil.
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

    /// Returns the reason why a director cannot use an address, or nil if it can.
    static func problem(of address: IPAddress) -> String? {
        if address.isLoopback {
            return "a director that serves itself is named by another of its own addresses"
        }
        return address.isUnicast ? nil : "it is no host's address"
    }
}

/// Numbers within the ranges of ipvsadm and keepalived.
enum ImportNumbers {
    static func number(
        _ text: some StringProtocol, in range: ClosedRange<Int>, called name: String
    ) throws(InvalidValue) -> Int {
        guard (1...10).contains(text.utf8.count), text.utf8.allSatisfy({ (48...57).contains($0) }),
            let number = Int(text), range.contains(number)
        else {
            throw InvalidValue(
                "\(AddressText.quoted(text)) is no \(name)", accepted: "\(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// Parses a number of seconds, at most 31 days (LVS_MAX_TIMEOUT).
    static func seconds(_ text: some StringProtocol) throws(InvalidValue) -> Int {
        try number(text, in: 0...2_678_400, called: "number of seconds")
    }

    static func mark(_ text: some StringProtocol) throws(InvalidValue) -> UInt32 {
        UInt32(try number(text, in: 1...4_294_967_295, called: "firewall mark"))
    }

    static func weight(_ text: some StringProtocol) throws(InvalidValue) -> Int {
        try number(text, in: 0...2_147_483_647, called: "weight")
    }

    static func threshold(_ text: some StringProtocol) throws(InvalidValue) -> Int {
        try number(text, in: 0...4_294_967_295, called: "threshold")
    }
}

/// The classes of characters in ipvsadm and keepalived, which read bytes in the C locale. Only ASCII has a meaning
/// there, so Unicode scalars can stand for bytes. A `Character` cannot, since it may be a `#` with a combining mark.
enum ASCIIText {
    static func isBlank(_ scalar: Unicode.Scalar) -> Bool { scalar == " " || scalar == "\t" }

    /// Whether isspace(3) is true for the scalar.
    static func isSpace(_ scalar: Unicode.Scalar) -> Bool { scalar == " " || (9...13).contains(scalar.value) }

    static func isDigit(_ scalar: Unicode.Scalar) -> Bool { ("0"..."9").contains(scalar) }

    static func isHexDigit(_ scalar: Unicode.Scalar) -> Bool {
        isDigit(scalar) || ("a"..."f").contains(scalar) || ("A"..."F").contains(scalar)
    }

    /// Whether the text can be the name of a definition in a keepalived.conf.
    static func isName(_ text: some StringProtocol) -> Bool {
        guard let first = text.unicodeScalars.first, isNamePart(first), !isDigit(first) else { return false }
        return text.unicodeScalars.allSatisfy(isNamePart)
    }

    static func isNamePart(_ scalar: Unicode.Scalar) -> Bool {
        scalar == "_" || isDigit(scalar) || ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar)
    }

    /// Returns the text without spaces and tabs around it.
    static func trimmed(_ text: Substring.UnicodeScalarView) -> String {
        var rest = text.drop(while: isBlank)
        while let last = rest.last, isBlank(last) { rest.removeLast() }
        return String(rest)
    }

    static func starts(_ text: String, with prefix: String) -> Bool { text.utf8.starts(with: prefix.utf8) }
}
