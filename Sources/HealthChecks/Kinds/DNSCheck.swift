internal import Addresses
internal import Glibc

/// A check that sends one query with recursion desired, and judges the answer (RFC 1035; TCP framing by its section
/// 4.2.2). Its stages are connect and answer.
public struct DNSCheck: Hashable, Sendable {
    public enum Transport: String, Hashable, Sendable, CaseIterable { case udp, tcp }

    public var port: UInt16
    public var transport: Transport
    public var question: DNSQuestion
    /// The response codes that count as healthy, by number (RFC 6895). The default is NOERROR (0) alone.
    public var responseCodes: Set<UInt8>
    /// The records of the queried type that the answer must contain. If empty, the response code alone decides.
    public var records: Set<DNSRecordData>

    public init(
        port: UInt16 = 53, transport: Transport = .udp, question: DNSQuestion, responseCodes: Set<UInt8> = [0],
        records: Set<DNSRecordData> = []
    ) {
        self.port = port
        self.transport = transport
        self.question = question
        self.responseCodes = responseCodes
        self.records = records
    }
}

/// The name and record type of a query of class IN.
public struct DNSQuestion: Hashable, Sendable, CustomStringConvertible {
    /// The labels of the name without the root label. Each has 1 to 63 bytes.
    let labels: [[UInt8]]
    public let type: DNSRecordType

    /// Creates a query for `name` in plain text. The root is ".". Escapes are not supported.
    public init(name: String, type: DNSRecordType) throws(InvalidCheck) {
        var text = Substring(name)
        if text.last == "." { text.removeLast() }
        let labels =
            text.isEmpty ? [] : text.split(separator: ".", omittingEmptySubsequences: false).map { Array($0.utf8) }
        guard !name.isEmpty, labels.allSatisfy({ (1...63).contains($0.count) }),
            labels.reduce(1, { $0 + $1.count + 1 }) <= 255
        else {
            throw InvalidCheck(
                "\"\(name)\" is no domain name: labels of 1 to 63 bytes, 255 bytes at most, \".\" for the root")
        }
        self.labels = labels
        self.type = type
    }

    public var name: String {
        labels.isEmpty ? "." : labels.map { String(decoding: $0, as: UTF8.self) }.joined(separator: ".")
    }

    public var description: String { "\(name) \(type)" }
}

/// The type of a resource record, by its mnemonic or as "TYPE65" (RFC 3597).
public struct DNSRecordType: Hashable, Sendable, LosslessStringConvertible {
    public let code: UInt16

    static let names: [UInt16: String] = [
        1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 257: "CAA",
    ]

    public init(code: UInt16) { self.code = code }

    public init?(_ description: String) {
        let name = description.uppercased()
        if let code = Self.names.first(where: { $0.value == name })?.key {
            self.code = code
        } else if name.hasPrefix("TYPE"), let code = UInt16(name.dropFirst(4)) {
            self.code = code
        } else {
            return nil
        }
    }

    public var description: String { Self.names[code] ?? "TYPE\(code)" }
}

/// The data of a resource record in a form that can be compared.
///
/// - An address is in its canonical text, and a name in lower case without its final dot.
/// - MX data is "10 mail.example", and SRV data is "0 5 443 host.example".
/// - TXT data is its strings, joined. All other types are hexadecimal digits.
public struct DNSRecordData: Hashable, Sendable, CustomStringConvertible {
    let text: String

    public var description: String { text }

    /// Creates the data of a record from an operator's text. Throws if the text does not fit the type.
    public init(_ text: String, type: DNSRecordType) throws(InvalidCheck) {
        func invalid(_ accepted: String) -> InvalidCheck {
            InvalidCheck("\"\(text)\" is no data of a \(type) record: \(accepted)")
        }
        let parts = text.split(separator: " ")
        func numbers(_ count: Int, accepted: String) throws(InvalidCheck) {
            guard parts.count == count + 1, parts.prefix(count).allSatisfy({ UInt16($0) != nil }) else {
                throw invalid(accepted)
            }
        }
        switch type.code {
        case 1:
            guard let address = IPv4Address(text) else { throw invalid("an IPv4 address") }
            self.init(text: address.description)
        case 28:
            var bytes = [UInt8](repeating: 0, count: 16)
            guard inet_pton(AF_INET6, text, &bytes) == 1 else { throw invalid("an IPv6 address") }
            self.init(ipv6: bytes)
        case 2, 5, 12:
            self.init(text: try DNSQuestion(name: text, type: type).name.asciiLowercased)
        case 15:
            try numbers(1, accepted: "a preference and a name")
            self.init(
                text: try Self.numbers(parts) + DNSQuestion(name: String(parts[1]), type: type).name.asciiLowercased)
        case 33:
            try numbers(3, accepted: "priority, weight, port and a name")
            self.init(
                text: try Self.numbers(parts) + DNSQuestion(name: String(parts[3]), type: type).name.asciiLowercased)
        case 16:
            self.init(text: text)
        default:
            guard text.utf8.count % 2 == 0, text.allSatisfy({ $0.isASCII && $0.isHexDigit }) else {
                throw invalid("hexadecimal digits, two for each byte")
            }
            self.init(text: text.lowercased())
        }
    }

    private static func numbers(_ parts: [Substring]) -> String {
        parts.dropLast().compactMap { UInt16($0) }.map { "\($0) " }.joined()
    }

    init(text: String) { self.text = text }

    init(ipv6: [UInt8]) {
        var buffer = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        _ = inet_ntop(AF_INET6, ipv6, &buffer, socklen_t(buffer.count))
        text = String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    init(hex bytes: ArraySlice<UInt8>) {
        text = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    /// Returns the text of a label. It is in lower case, as names are compared without regard to case (RFC 4343).
    static func name(_ label: ArraySlice<UInt8>) -> String {
        String(decoding: label, as: UTF8.self).asciiLowercased
    }
}

extension String {
    var asciiLowercased: String {
        String(decoding: utf8.map { (65...90).contains($0) ? $0 + 32 : $0 }, as: UTF8.self)
    }
}
