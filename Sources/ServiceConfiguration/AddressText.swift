public import Addresses
public import LoadBalancing

/// The texts of addresses, ports and weights on the command line and in files.
public enum AddressText {
    static let services = "A.B.C.D, A.B.C.D:PORT or A.B.C.D:PORT/tcp|udp"
    static let servers = "A.B.C.D, A.B.C.D=WEIGHT or A.B.C.D=WEIGHT:UPPER[/LOWER]"
    package static let thresholds = 0...999_999_999

    /// Parses `A.B.C.D`, `A.B.C.D:PORT` (TCP) or `A.B.C.D:PORT/tcp|udp`.
    public static func service(_ text: some StringProtocol) throws(InvalidValue) -> ServiceAddress {
        guard let colon = text.firstIndex(of: ":"), text.lastIndex(of: ":") == colon else {
            return ServiceAddress(vip: try address(text, accepted: services))
        }
        let vip = try address(text[..<colon], accepted: services)
        let rest = text[text.index(after: colon)...].split(
            separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        let port = try port(rest[0])
        guard rest.count > 1 else { return ServiceAddress(vip: vip, port: port, transport: .tcp) }
        guard let transport = TransportProtocol(rawValue: String(rest[1])) else {
            throw InvalidValue("unknown protocol \(quoted(rest[1]))", accepted: choices(of: TransportProtocol.self))
        }
        return ServiceAddress(vip: vip, port: port, transport: transport)
    }

    /// Parses a packet's source, `A.B.C.D:PORT`. Any IPv4 address is accepted.
    public static func source(
        _ text: some StringProtocol
    ) throws(InvalidValue) -> (address: IPAddress, port: UInt16) {
        let accepted = "A.B.C.D:PORT"
        guard let colon = text.lastIndex(of: ":") else {
            throw InvalidValue("\(quoted(text)) has no port", accepted: accepted)
        }
        return (.v4(try ipv4(text[..<colon], accepted: accepted)), try port(text[text.index(after: colon)...]))
    }

    /// Parses `A.B.C.D` with weight 1, `A.B.C.D=WEIGHT`, or `A.B.C.D=WEIGHT:UPPER[/LOWER]`.
    public static func server(_ text: some StringProtocol) throws(InvalidValue) -> RealServer {
        try WrittenServer(parsing: text).server()
    }

    /// Returns the thresholds that `ipvsadm -x UPPER -y LOWER` would set, or nil for an upper threshold of 0, which
    /// means none. A lower threshold of 0 or nil means three quarters of the upper threshold.
    static func thresholds(upper: Int, lower: Int?) throws(InvalidValue) -> ConnectionThresholds? {
        if let lower, lower > upper {
            throw InvalidValue("the lower threshold, \(lower), is above the upper one", accepted: "0 to \(upper)")
        }
        guard upper > 0 else { return nil }
        return ConnectionThresholds(upper: UInt32(upper), lower: lower.flatMap { $0 == 0 ? nil : UInt32($0) })
    }

    static let maglevSizes =
        "a prime from \(MaglevTable.acceptedSizes.lowerBound) to \(MaglevTable.acceptedSizes.upperBound)"

    /// Parses the size of a Maglev table, which has to be a prime.
    static func maglevSize(_ text: String) throws(InvalidValue) -> Int {
        let sizes = MaglevTable.acceptedSizes
        guard let size = Int(text), text.utf8.allSatisfy({ (48...57).contains($0) }), sizes.contains(size) else {
            throw InvalidValue("no size of a Maglev table", accepted: maglevSizes)
        }
        guard MaglevTable.isPrime(size) else {
            let nearest = MaglevTable.nearestSizes(to: size).map(String.init).joined(separator: " or ")
            throw InvalidValue("no prime", accepted: "\(maglevSizes); the nearest: \(nearest)")
        }
        return size
    }

    /// Refuses a Maglev table with fewer slots than real servers.
    static func maglevSize(_ size: Int, servers: Int) throws(InvalidValue) {
        guard size < servers else { return }
        throw InvalidValue(
            "smaller than the number of real servers",
            accepted: "\(maglevSizes) that is not below \(servers); 100 times as much shares evenly")
    }

    /// Parses an IPv4 address that a host can have. `accepted` is the form of the whole value, which errors show.
    public static func address(
        _ text: some StringProtocol, accepted: String = "A.B.C.D"
    ) throws(InvalidValue) -> IPAddress {
        let address = try ipv4(text, accepted: accepted)
        guard address.isUnicast else {
            let kind =
                switch address.value >> 24 {
                case 0: "an address of 0.0.0.0/8"
                case 127: "a loopback address"
                case 224..<240: "a multicast address"
                default: "a reserved address"
                }
            throw InvalidValue(
                "\(text) is \(kind)", accepted: "a host's address: 1.0.0.0 to 223.255.255.255 except 127.0.0.0/8")
        }
        return .v4(address)
    }

    /// Parses any IPv4 address. The error for an IPv6 address, also in brackets, names its family, as the data plane
    /// forwards IPv4 only.
    private static func ipv4(_ text: some StringProtocol, accepted: String) throws(InvalidValue) -> IPv4Address {
        let isBracketed = text.first == "[" && text.contains("]")
        let bare = isBracketed ? String(text.dropFirst().prefix { $0 != "]" }) : String(text)
        guard let address = IPAddress(bare), !isBracketed || address.family == .v6 else {
            throw InvalidValue("\(quoted(text)) is no IPv4 address", accepted: accepted)
        }
        do throws(WrongFamily) { return try address.asIPv4() } catch {
            throw InvalidValue("\(error)", accepted: accepted)
        }
    }

    /// Parses a client or a network of clients: `A.B.C.D`, `A.B.C.D:PORT` or `A.B.C.D/LENGTH`. Any IPv4 address is
    /// accepted. The prefix of an address without a length has 32 bits. The port is nil if the text has none.
    public static func client(
        _ text: some StringProtocol
    ) throws(InvalidValue) -> (prefix: IPPrefix, port: UInt16?) {
        let accepted = "A.B.C.D, A.B.C.D:PORT or A.B.C.D/LENGTH"
        let end = text.firstIndex { $0 == ":" || $0 == "/" } ?? text.endIndex
        let address = IPAddress.v4(try ipv4(text[..<end], accepted: accepted))
        let rest = text[end...].dropFirst()
        let hasLength = text[end...].first == "/"
        let length = hasLength ? try number(rest, in: 1...32, problem: "\(quoted(rest)) is no length for it") : 32
        guard let prefix = IPPrefix(address, length: length) else {
            throw InvalidValue("\(address) has bits behind the prefix of \(length)", accepted: accepted)
        }
        return (prefix, hasLength || end == text.endIndex ? nil : try port(rest))
    }

    static let outerSourcePrefixes = "A.B.C.D/LENGTH with a length from 8 to 24, as 172.16.0.0/16"

    /// Parses the prefix of outer source addresses, `A.B.C.D/LENGTH`. The length is at most 24, as flows need 256
    /// addresses or more to differ.
    static func outerSources(_ text: some StringProtocol) throws(InvalidValue) -> IPPrefix {
        let accepted = outerSourcePrefixes
        guard let slash = text.firstIndex(of: "/") else {
            throw InvalidValue("the prefix has no length", accepted: accepted)
        }
        let address = try address(text[..<slash], accepted: accepted)
        let lengthText = text[text.index(after: slash)...]
        let length = try number(lengthText, in: 8...24, problem: "\(quoted(lengthText)) is no length for it")
        guard let prefix = IPPrefix(address, length: length) else {
            throw InvalidValue("\(address) has bits behind the prefix of \(length)", accepted: accepted)
        }
        return prefix
    }

    public static func port(_ text: some StringProtocol) throws(InvalidValue) -> UInt16 {
        UInt16(try number(text, in: 1...65535, problem: "port \(quoted(text)) is no port"))
    }

    static let netmasks = "1 to 32, or a netmask such as 255.255.255.0"

    /// Parses `24`, `/24` or `255.255.255.0` as a prefix length from 1 to 32.
    package static func prefixLength(_ text: some StringProtocol) throws(InvalidValue) -> Int {
        let accepted = netmasks
        if let mask = IPv4Address(String(text)) {
            let length = mask.value.leadingZeroBitCount == 0 ? (~mask.value).leadingZeroBitCount : 0
            guard length > 0, mask.value == UInt32.max << UInt32(32 - length) else {
                throw InvalidValue("no netmask", accepted: accepted)
            }
            return length
        }
        let digits = text.hasPrefix("/") ? text.dropFirst() : text[...]
        guard digits.utf8.count <= 2, let length = Int(digits), (1...32).contains(length) else {
            throw InvalidValue("no netmask", accepted: accepted)
        }
        return length
    }

    /// Parses a number of up to nine decimal digits, without a sign or leading zeros. The number has to be in `range`,
    /// and `problem` is the text of the error otherwise.
    package static func number(
        _ text: some StringProtocol, in range: ClosedRange<Int>, problem: String
    ) throws(InvalidValue) -> Int {
        guard (1...9).contains(text.utf8.count), text.utf8.allSatisfy({ (48...57).contains($0) }),
            text.utf8.count == 1 || text.utf8.first != 48, let number = Int(text), range.contains(number)
        else { throw InvalidValue(problem, accepted: "\(range.lowerBound) to \(range.upperBound)") }
        return number
    }

    /// Returns the names of all values of an enumeration, separated by commas. An error lists them as the accepted
    /// values.
    static func choices<Choice: CaseIterable & RawRepresentable<String>>(of type: Choice.Type) -> String {
        type.allCases.map(\.rawValue).joined(separator: ", ")
    }

    /// Returns the text, in quotes where it is empty or has white space.
    package static func quoted(_ text: some StringProtocol) -> String {
        text.isEmpty || text.contains(where: \.isWhitespace) ? "'\(text)'" : String(text)
    }
}

/// The address and port at which a socket listens.
public struct ListenAddress: Hashable, Sendable, CustomStringConvertible {
    public var address: IPAddress
    public var port: UInt16

    /// Parses `A.B.C.D:PORT`. The address may also be 127.0.0.1 or 0.0.0.0.
    public init(parsing text: String) throws(InvalidValue) {
        let accepted = "A.B.C.D:PORT, as 127.0.0.1:9104"
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else { throw InvalidValue("no address and port", accepted: accepted) }
        guard let address = IPv4Address(String(parts[0])), address.value >> 24 < 224 else {
            throw InvalidValue("\(AddressText.quoted(parts[0])) is no address to listen on", accepted: accepted)
        }
        self.address = .v4(address)
        port = try AddressText.port(parts[1])
    }

    public var description: String { "\(address):\(port)" }
}

/// A text file with one address on each line. `#` begins a comment.
public enum AddressFile {
    /// Returns the addresses in `text`, the file's content, in their order and without repetitions. Throws errors for
    /// all bad lines, or one error if there is no address. Errors name the file by `name`.
    public static func addresses(_ text: String, name: String) throws(ConfigurationErrors) -> [IPAddress] {
        var addresses: [IPAddress] = []
        var errors: [ConfigurationError] = []
        // A line may end by CR LF, which is one `Character`.
        for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            let word = line.prefix { $0 != "#" }.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace)
            if word.isEmpty { continue }
            do throws(InvalidValue) {
                let address = try AddressText.address(String(word.reversed()), accepted: "one A.B.C.D a line")
                if !addresses.contains(address) { addresses.append(address) }
            } catch {
                errors.append(ConfigurationError(place: "\(name) line \(index + 1)", error))
            }
        }
        if addresses.isEmpty, errors.isEmpty {
            let nothing = InvalidValue("no address in it", accepted: "one A.B.C.D a line")
            errors.append(ConfigurationError(place: name, nothing))
        }
        guard errors.isEmpty else { throw ConfigurationErrors(errors) }
        return addresses
    }
}
