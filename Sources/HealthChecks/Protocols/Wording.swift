/// Whether texts may stand where a protocol puts them: what ends a line there would begin another message.
enum Wording {
    /// RFC 9110 section 5.6.2.
    static func isToken(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
                    || "!#$%&'*+-.^_`|~".utf8.contains(byte)
            }
    }

    /// Neither white space nor a control character, and not empty.
    static func isWord(_ text: String) -> Bool { !text.isEmpty && text.utf8.allSatisfy { $0 > 32 && $0 != 127 } }

    /// RFC 9110 section 5.5.
    static func isFieldValue(_ text: String) -> Bool {
        text.utf8.allSatisfy { $0 == 9 || ($0 >= 32 && $0 != 127) }
    }
}

extension Check {
    /// Why it cannot be asked, whatever the server; nil where it can.
    public var problem: InvalidCheck? {
        switch self {
        case .http(let check): check.problem
        case .grpc(let check):
            check.authority.map(Wording.isWord) == false
                ? InvalidCheck("authority \"\(check.authority ?? "")\": no white space, not empty") : nil
        case .smtp(let check):
            Wording.isWord(check.helo) ? nil : InvalidCheck("helo \"\(check.helo)\": no white space, not empty")
        default: nil
        }
    }
}

extension HTTPCheck {
    fileprivate var problem: InvalidCheck? {
        if !Wording.isToken(method) { return InvalidCheck("method \"\(method)\": a token, such as GET") }
        if !Wording.isWord(path) || !(path.hasPrefix("/") || path == "*") {
            return InvalidCheck("path \"\(path)\": begins with \"/\", without white space")
        }
        if let host, !Wording.isWord(host) { return InvalidCheck("host \"\(host)\": no white space, not empty") }
        for field in fields where !Wording.isToken(field.name) || !Wording.isFieldValue(field.value) {
            return InvalidCheck("field \"\(field.name)\": the name is a token, the value one line")
        }
        for case .sha256(let digest) in body where digest.count != 32 {
            return InvalidCheck("a SHA-256 digest of \(digest.count) bytes: it has 32")
        }
        return status.isEmpty ? InvalidCheck("status: one range at least") : nil
    }
}
