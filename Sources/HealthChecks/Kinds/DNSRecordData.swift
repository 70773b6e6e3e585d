internal import Addresses
internal import Glibc

/// A record's data in the form that is compared: an address, a name in lower case without its final dot, "10 mail.example"
/// (MX), "0 5 443 host.example" (SRV), the joined strings of a TXT, and hexadecimal digits for all other types.
public struct DNSRecordData: Hashable, Sendable, CustomStringConvertible {
    let text: String

    public var description: String { text }

    /// As an operator writes it, for a type.
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

    /// A label; names are compared without regard to case (RFC 4343).
    static func name(_ label: ArraySlice<UInt8>) -> String {
        String(decoding: label, as: UTF8.self).asciiLowercased
    }
}

extension String {
    var asciiLowercased: String {
        String(decoding: utf8.map { (65...90).contains($0) ? $0 + 32 : $0 }, as: UTF8.self)
    }
}
