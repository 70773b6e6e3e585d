/// The dialogue of an SMTP check: greeting, HELO and QUIT (RFC 5321 sections 4.1 to 4.3).
struct SMTPDialogue: StreamDialogue {
    private(set) var stage = CheckStage.greeting
    private let helo: String
    private var line: [UInt8] = []
    private var lines = 0

    /// The most bytes of a line (RFC 5321 section 4.5.3.1.5).
    private static let longestLine = 512
    private static let mostLines = 64

    init(helo: String) { self.helo = helo }

    mutating func open() -> StreamStep { .wait }

    mutating func receive(_ bytes: [UInt8]) -> StreamStep {
        for byte in bytes {
            guard byte == 10 else {
                line.append(byte)
                if line.count > Self.longestLine { return .end(.failed("\(stage): a line of more than 512 bytes")) }
                continue
            }
            if line.last == 13 { line.removeLast() }
            let complete = line
            line = []
            lines += 1
            let step = receive(line: complete)
            // The rest of `bytes` came before the next command, and is ignored.
            guard case .wait = step else { return step }
            if lines >= Self.mostLines {
                return .end(.failed("\(stage): a reply of more than \(Self.mostLines) lines"))
            }
        }
        return .wait
    }

    private mutating func receive(line: [UInt8]) -> StreamStep {
        let text = String(decoding: line.prefix(80).map { (32...126).contains($0) ? $0 : 63 }, as: UTF8.self)
        guard line.count >= 3, line.prefix(3).allSatisfy({ (48...57).contains($0) }), let code = Int(text.prefix(3)),
            line.count == 3 || line[3] == 32 || line[3] == 45
        else { return .end(.failed("\(stage): \"\(text)\" is no SMTP reply")) }
        let expected = stage == .greeting ? 220 : stage == .hello ? 250 : 221
        guard code == expected else { return .end(.failed("\(stage): \"\(text)\", expected \(expected)")) }
        if line.count > 3, line[3] == 45 { return .wait }
        lines = 0
        switch stage {
        case .greeting:
            stage = .hello
            return .send(Array("HELO \(helo)\r\n".utf8))
        case .hello:
            stage = .quit
            return .send(Array("QUIT\r\n".utf8))
        default:
            return .end(.passed)
        }
    }
}
