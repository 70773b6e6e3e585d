public import LoadBalancing

/// Addresses, ports and weights as operators write them on the command line and in files.
public enum AddressText {
    static let services = "A.B.C.D, A.B.C.D:PORT or A.B.C.D:PORT/tcp|udp"
    static let servers = "A.B.C.D or A.B.C.D=WEIGHT"

    /// `A.B.C.D`, `A.B.C.D:PORT` (TCP) or `A.B.C.D:PORT/tcp|udp`.
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

    /// `A.B.C.D` with weight 1 or `A.B.C.D=WEIGHT`.
    public static func server(_ text: some StringProtocol) throws(InvalidValue) -> RealServer {
        guard let sign = text.firstIndex(of: "=") else {
            return RealServer(address: try address(text, accepted: servers))
        }
        let address = try address(text[..<sign], accepted: servers)
        let weight = text[text.index(after: sign)...]
        return RealServer(
            address: address,
            weight: UInt16(try number(weight, in: 0...65535, problem: "weight \(quoted(weight)) is no weight")))
    }

    /// An IPv4 address that a host can have; `accepted` is the form of the whole value that holds it.
    public static func address(
        _ text: some StringProtocol, accepted: String = "A.B.C.D"
    ) throws(InvalidValue) -> IPv4Address {
        guard let address = IPv4Address(String(text)) else {
            throw InvalidValue("\(quoted(text)) is no IPv4 address", accepted: accepted)
        }
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
        return address
    }

    public static func port(_ text: some StringProtocol) throws(InvalidValue) -> UInt16 {
        UInt16(try number(text, in: 1...65535, problem: "port \(quoted(text)) is no port"))
    }

    /// `24`, `/24` or `255.255.255.0`: from 1 to 32 leading bits.
    static func prefixLength(_ text: some StringProtocol) throws(InvalidValue) -> Int {
        let accepted = "1 to 32, or a netmask such as 255.255.255.0"
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

    /// Decimal digits without sign or superfluous zeros.
    static func number(
        _ text: some StringProtocol, in range: ClosedRange<Int>, problem: String
    ) throws(InvalidValue) -> Int {
        guard (1...9).contains(text.utf8.count), text.utf8.allSatisfy({ (48...57).contains($0) }),
            text.utf8.count == 1 || text.utf8.first != 48, let number = Int(text), range.contains(number)
        else { throw InvalidValue(problem, accepted: "\(range.lowerBound) to \(range.upperBound)") }
        return number
    }

    /// Every value's name, for the end of an error.
    static func choices<Choice: CaseIterable & RawRepresentable<String>>(of type: Choice.Type) -> String {
        type.allCases.map(\.rawValue).joined(separator: ", ")
    }

    /// The text itself, in quotes where its borders would not be seen.
    static func quoted(_ text: some StringProtocol) -> String {
        text.isEmpty || text.contains(where: \.isWhitespace) ? "'\(text)'" : String(text)
    }
}
