internal import Addresses
internal import Glibc

/// The encoding of queries and the decoding of responses of DNS (RFC 1035 section 4).
enum DNSMessage {
    static func query(_ question: DNSQuestion, identifier: UInt16) -> [UInt8] {
        // The flag RD, and one question.
        var bytes: [UInt8] = [UInt8(identifier >> 8), UInt8(identifier & 255), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
        bytes += self.question(question)
        return bytes
    }

    /// Returns the question section of a query: name, type and class IN.
    private static func question(_ question: DNSQuestion) -> [UInt8] {
        question.labels.flatMap { [UInt8($0.count)] + $0 }
            + [0, UInt8(question.type.code >> 8), UInt8(question.type.code & 255), 0, 1]
    }

    struct Malformed: Error, Hashable { var description: String }

    struct Record: Hashable {
        var type: DNSRecordType
        var data: DNSRecordData
    }

    struct Response: Hashable {
        var identifier: UInt16
        var isResponse: Bool
        var isTruncated: Bool
        var code: UInt8
        var name: String
        var type: UInt16
        var answers: [Record]
    }

    static func response(_ bytes: [UInt8]) throws(Malformed) -> Response {
        var reader = Reader(bytes: bytes)
        let identifier = try reader.u16()
        let flags = try reader.u16()
        let questions = try reader.u16()
        let answers = try reader.u16()
        _ = try reader.u16()
        _ = try reader.u16()
        // An error response may lack the question.
        var name = ""
        var type: UInt16 = 0
        for index in 0..<questions {
            let asked = try reader.name()
            let askedType = try reader.u16()
            _ = try reader.u16()
            if index == 0 { (name, type) = (asked, askedType) }
        }
        var response = Response(
            identifier: identifier, isResponse: flags & 0x8000 != 0, isTruncated: flags & 0x0200 != 0,
            code: UInt8(flags & 15), name: questions == 0 ? "" : name, type: type, answers: [])
        for _ in 0..<answers {
            // A truncated message may end before its last record.
            if response.isTruncated, reader.isAtEnd { break }
            response.answers.append(try reader.record())
        }
        return response
    }
}

extension DNSMessage {
    struct Reader {
        let bytes: [UInt8]
        var position = 0

        init(bytes: [UInt8]) { self.bytes = bytes }

        var isAtEnd: Bool { position >= bytes.count }

        mutating func u8() throws(Malformed) -> UInt8 {
            guard position < bytes.count else { throw Malformed(description: "it ends early") }
            defer { position += 1 }
            return bytes[position]
        }

        mutating func u16() throws(Malformed) -> UInt16 {
            let high = try u8()
            return UInt16(high) << 8 | UInt16(try u8())
        }

        mutating func read(_ count: Int) throws(Malformed) -> ArraySlice<UInt8> {
            guard count <= bytes.count - position else { throw Malformed(description: "it ends early") }
            defer { position += count }
            return bytes[position..<position + count]
        }

        /// Reads a name, and returns it in lower case without the final dot. Each pointer must lead further back than
        /// the pointer before it (section 4.1.4), so that the loop ends.
        mutating func name() throws(Malformed) -> String {
            var labels: [String] = []
            var length = 1
            var limit = position
            var back: Int?
            while true {
                let count = try u8()
                switch count >> 6 {
                case 0 where count == 0:
                    if let back { position = back }
                    return labels.isEmpty ? "." : labels.joined(separator: ".")
                case 0:
                    let label = try read(Int(count))
                    length += label.count + 1
                    guard length <= 255 else { throw Malformed(description: "a name of more than 255 bytes") }
                    labels.append(DNSRecordData.name(label))
                case 3:
                    let target = Int(count & 63) << 8 | Int(try u8())
                    guard target < limit else { throw Malformed(description: "a name that points forward") }
                    if back == nil { back = position }
                    limit = target
                    position = target
                default:
                    throw Malformed(description: "a label of an unknown kind")
                }
            }
        }

        mutating func record() throws(Malformed) -> Record {
            _ = try name()
            let type = DNSRecordType(code: try u16())
            _ = try read(6)  // class and time to live
            let length = Int(try u16())
            guard length <= bytes.count - position else { throw Malformed(description: "it ends early") }
            let end = position + length
            let data = try data(type: type, length: length)
            guard position == end else { throw Malformed(description: "a \(type) record of a wrong length") }
            return Record(type: type, data: data)
        }

        private mutating func data(type: DNSRecordType, length: Int) throws(Malformed) -> DNSRecordData {
            let end = position + length
            switch type.code {
            case 1 where length == 4:
                let address = try read(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
                return DNSRecordData(text: IPv4Address(address).description)
            case 28 where length == 16:
                return DNSRecordData(ipv6: Array(try read(16)))
            case 2, 5, 12:
                return DNSRecordData(text: try name())
            case 15:
                let preference = try u16()
                return DNSRecordData(text: "\(preference) \(try name())")
            case 33:
                let numbers = [try u16(), try u16(), try u16()].map(String.init).joined(separator: " ")
                return DNSRecordData(text: "\(numbers) \(try name())")
            case 16:
                var text: [UInt8] = []
                while position < end { text += try read(Int(try u8())) }
                return DNSRecordData(text: String(decoding: text, as: UTF8.self))
            default:
                return DNSRecordData(hex: try read(length))
            }
        }
    }
}
