/// A parser of HTTP/1 responses (RFC 9112) that arrive in pieces of any size. It is as lenient as curl. It accepts
/// lines that end at LF alone, folded lines, equal lengths given more than once, and blanks before a colon. Its memory
/// is bounded.
struct HTTP1ResponseReader {
    struct Invalid: Error, Equatable {
        var reason: String

        init(_ reason: String) { self.reason = reason }
    }

    /// The most bytes of all heads and trailers together, as in curl.
    static let mostHeadBytes = 300 << 10
    private static let longestChunkLine = 16 << 10

    private enum State: Equatable {
        case start, fields
        case body(left: UInt64), bodyUntilClose
        case chunkLine, chunk(left: UInt64), chunkEnd, trailers
        case over
    }

    private let hasNoBody: Bool
    private var state = State.start
    /// The received bytes of the current line, without the LF.
    private var line: [UInt8] = []
    private var headBytes = 0
    private var status = 0
    private var fields: [(name: [UInt8], value: [UInt8])] = []

    /// Creates a parser of the response to a request with this method.
    init(method: String) { hasNoBody = method == "HEAD" }

    /// Returns the events that the bytes complete. After an error, no more bytes may be passed.
    mutating func receive(_ bytes: [UInt8]) throws(Invalid) -> [HTTPEvent] {
        var events: [HTTPEvent] = []
        var rest = bytes[...]
        while !rest.isEmpty, state != .over {
            switch state {
            case .bodyUntilClose:
                events.append(.body(Array(rest)))
                rest = []
            case .body(let left):
                let left = readBody(left, of: &rest, &events)
                state = .body(left: left)
                if left == 0 { end(&events) }
            case .chunk(let left):
                let left = readBody(left, of: &rest, &events)
                state = left == 0 ? .chunkEnd : .chunk(left: left)
            case .start, .fields, .chunkLine, .chunkEnd, .trailers:
                guard let line = try readLine(of: &rest) else { continue }
                try receive(line: line, &events)
            case .over: break
            }
        }
        return events
    }

    /// Returns the events that the end of the connection completes.
    mutating func finish() -> [HTTPEvent] {
        guard state == .bodyUntilClose else { return [] }
        state = .over
        return [.end]
    }

    private mutating func end(_ events: inout [HTTPEvent]) {
        state = .over
        events.append(.end)
    }

    private func readBody(_ left: UInt64, of rest: inout ArraySlice<UInt8>, _ events: inout [HTTPEvent]) -> UInt64 {
        let part = rest.prefix(Int(min(left, UInt64(rest.count))))
        rest.removeFirst(part.count)
        if !part.isEmpty { events.append(.body(Array(part))) }
        return left - UInt64(part.count)
    }

    // MARK: Lines

    /// Reads up to the end of the current line. Returns nil if the line is not complete yet.
    private mutating func readLine(of rest: inout ArraySlice<UInt8>) throws(Invalid) -> [UInt8]? {
        let end = rest.firstIndex(of: 10)
        let part = rest[..<(end ?? rest.endIndex)]
        let count = part.count + (end == nil ? 0 : 1)
        rest.removeFirst(count)
        line += part
        if state == .chunkLine || state == .chunkEnd {
            if line.count > Self.longestChunkLine { throw Invalid("a chunk's size of more than 16 KiB") }
        } else {
            headBytes += count
            if headBytes > Self.mostHeadBytes { throw Invalid("more than 300 KiB of header fields") }
        }
        // A peer with another protocol may never send the end of a line.
        if state == .start, !Self.mayBeStatusLine(line) { throw Self.otherStart(line) }
        guard end != nil else { return nil }
        while line.last == 13 { line.removeLast() }
        if line.contains(0) { throw Invalid("a NUL byte among the header fields") }
        defer { line = [] }
        return line
    }

    private mutating func receive(line: [UInt8], _ events: inout [HTTPEvent]) throws(Invalid) {
        switch state {
        case .start where line.isEmpty: break
        case .start:
            status = try Self.status(of: line)
            state = .fields
        case .fields where line.isEmpty: try endHead(&events)
        case .trailers where line.isEmpty:
            events.append(.trailers(removeFields()))
            end(&events)
        case .fields, .trailers: try receive(field: line)
        case .chunkLine:
            let size = try Self.chunkSize(line)
            state = size == 0 ? .trailers : .chunk(left: size)
        case .chunkEnd where line.isEmpty: state = .chunkLine
        default: throw Invalid("a chunk that is longer than it says")
        }
    }

    private mutating func receive(field line: [UInt8]) throws(Invalid) {
        if Self.isBlank(line[0]) {
            guard let last = fields.indices.last else { throw Invalid("a folded line before the first header field") }
            fields[last].value += [32] + Self.trimmed(line[...])
            return
        }
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else {
            throw Invalid("a header field without colon: \(UDPDialogue.quoted(line))")
        }
        fields.append((Array(Self.trimmed(line[..<colon])), Array(Self.trimmed(line[(colon + 1)...]))))
    }

    private mutating func removeFields() -> [HTTPCheck.Field] {
        defer { fields = [] }
        return fields.map {
            HTTPCheck.Field(
                String(decoding: $0.name, as: UTF8.self).asciiLowercased, String(decoding: $0.value, as: UTF8.self))
        }
    }

    private mutating func endHead(_ events: inout [HTTPEvent]) throws(Invalid) {
        let fields = removeFields()
        let length = try Self.length(of: fields)
        let codings = fields.filter { $0.name == "transfer-encoding" }.flatMap { $0.value.split(separator: ",") }
        events.append(.head(status: status, fields: fields))
        if (100...199).contains(status), status != 101 {
            state = .start
        } else if hasNoBody || [101, 204, 304].contains(status) {
            end(&events)
        } else if let coding = codings.last, !Self.isNamed(coding, "identity") {
            // A Content-Length beside a transfer coding is ignored (RFC 9112 section 6.3).
            state = Self.isNamed(coding, "chunked") ? .chunkLine : .bodyUntilClose
        } else if let length {
            state = .body(left: length)
            if length == 0 { end(&events) }
        } else {
            state = .bodyUntilClose
        }
    }

    // MARK: Values

    private static func mayBeStatusLine(_ line: [UInt8]) -> Bool {
        line.isEmpty || line == [13] || zip(line, "HTTP/".utf8).allSatisfy { lowercased($0) == lowercased($1) }
    }

    private static func otherStart(_ line: [UInt8]) -> Invalid {
        Invalid("it begins with \(UDPDialogue.quoted(Array(line.prefix { $0 != 13 })))")
    }

    /// Returns the status of a line such as `HTTP/1.1 200 OK`. It also accepts `HTTP/2 200`, which some servers send
    /// here, and a line without a reason.
    private static func status(of line: [UInt8]) throws(Invalid) -> Int {
        let parts = line.split(maxSplits: 1, whereSeparator: { $0 == 32 })
        let version = parts.first.map { $0.dropFirst(5).prefix { $0 != UInt8(ascii: ".") } } ?? []
        let rest = parts.count > 1 ? parts[1].drop { $0 == 32 } : []
        let code = rest.prefix { (48...57).contains($0) }
        guard ["1", "2", "3"].contains(String(decoding: version, as: UTF8.self)), code.count == 3,
            let status = Int(String(decoding: code, as: UTF8.self)), status >= 100
        else { throw otherStart(line) }
        return status
    }

    /// Returns the content length. Nil: there is none, or it exceeds 64 bits. The body then ends with the connection.
    private static func length(of fields: [HTTPCheck.Field]) throws(Invalid) -> UInt64? {
        var lengths: Set<UInt64?> = []
        for field in fields where field.name == "content-length" {
            for value in field.value.split(separator: ",", omittingEmptySubsequences: false) {
                var text = value.utf8.drop { isBlank($0) }
                if text.first == UInt8(ascii: "+") { text.removeFirst() }
                let digits = text.prefix { (48...57).contains($0) }
                if digits.isEmpty { throw Invalid("Content-Length \(UDPDialogue.quoted(Array(field.value.utf8)))") }
                lengths.insert(UInt64(String(decoding: digits, as: UTF8.self)))
            }
        }
        guard lengths.count < 2 else { throw Invalid("two values of Content-Length") }
        return lengths.first ?? nil
    }

    /// Returns the size of a chunk: up to 16 hexadecimal digits. An extension may follow them.
    private static func chunkSize(_ line: [UInt8]) throws(Invalid) -> UInt64 {
        let digits = String(decoding: line, as: UTF8.self).prefix { $0.isASCII && $0.isHexDigit }
        guard digits.utf8.count <= 16, let size = UInt64(digits, radix: 16) else {
            throw Invalid("a chunk's size is \(UDPDialogue.quoted(line))")
        }
        return size
    }

    private static func isNamed(_ text: Substring, _ name: String) -> Bool {
        String(decoding: trimmed(Array(text.utf8)[...]), as: UTF8.self).asciiLowercased == name
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 32 || byte == 9 }

    private static func trimmed(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var text = text.drop(while: isBlank)
        while text.last.map(isBlank) == true { text.removeLast() }
        return text
    }

    private static func lowercased(_ byte: UInt8) -> UInt8 { (65...90).contains(byte) ? byte | 32 : byte }
}
