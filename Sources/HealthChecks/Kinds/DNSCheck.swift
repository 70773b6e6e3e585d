/// Sends one query with recursion desired and judges the answer (RFC 1035; TCP framing by its section 4.2.2). Stages:
/// connect, answer.
public struct DNSCheck: Hashable, Sendable {
    public enum Transport: String, Hashable, Sendable, CaseIterable { case udp, tcp }

    public var port: UInt16
    public var transport: Transport
    public var question: DNSQuestion
    /// Response codes that count as health, by number (RFC 6895): NOERROR (0) alone, unless given.
    public var responseCodes: Set<UInt8>
    /// Each of these has to be among the answer's records of the queried type; where none is named, any answer will do.
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

/// A name and a type of record, of class IN.
public struct DNSQuestion: Hashable, Sendable, CustomStringConvertible {
    /// Labels without the root's; each 1 to 63 bytes.
    let labels: [[UInt8]]
    public let type: DNSRecordType

    /// `name` in plain text; "." is the root. Escapes are not known.
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

/// A type of resource record, by its mnemonic or as "TYPE65" (RFC 3597).
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
