/// A question that a real server has to answer: what is asked and what counts as health. Equal checks of the same host
/// need to be asked only once.
public enum Check: Hashable, Sendable {
    case echo(EchoCheck)
    case mtu(MTUCheck)
    case tcp(TCPCheck)
    case tls(TLSCheck)
    case http(HTTPCheck)
    case grpc(GRPCHealthCheck)
    case smtp(SMTPCheck)
    case dns(DNSCheck)
    case udp(UDPCheck)
    case script(ScriptCheck)
    case file(FileCheck)

    /// A connect or an echo: without a word of any protocol, and next to free.
    public var isBare: Bool {
        switch self {
        case .echo, .tcp: true
        default: false
        }
    }

    /// Which way a check goes.
    public enum Via: String, Hashable, Sendable, CaseIterable {
        /// Through the tunnel to the VIP, as clients' packets go.
        case tunnel
        /// To the real server's own address.
        case direct
        /// Both at once; clients' way decides, the other one tells which half is broken.
        case both
    }
}

extension Check: CustomStringConvertible {
    public var description: String {
        switch self {
        case .echo: "ping"
        case .mtu(let check): "mtu:\(check.size)"
        case .tcp(let check): "tcp:\(check.port)"
        case .tls(let check): "tls:\(check.port)"
        case .http(let check): "\(check.tls == nil ? "http" : "https"):\(check.port)\(check.path)"
        case .grpc(let check): "grpc:\(check.port)"
        case .smtp(let check): "smtp:\(check.port)"
        case .dns(let check): "dns:\(check.port)/\(check.transport.rawValue)"
        case .udp(let check): "udp:\(check.port)"
        case .script(let check): "script \(check.arguments.first ?? "")"
        case .file(let check): "file \(check.path)"
        }
    }
}

/// One question to a real server: what is asked, and which way it goes. Equal ones need to be asked only once.
public struct Probe: Hashable, Sendable, CustomStringConvertible {
    public var check: Check
    public var via: Check.Via

    public init(_ check: Check, via: Check.Via = .tunnel) {
        self.check = check
        self.via = via
    }

    public static let ping = Probe(.echo(EchoCheck()))

    public static func tcp(port: UInt16) -> Probe { Probe(.tcp(TCPCheck(port: port))) }

    public var description: String { check.description }
}

/// The answer to a probe.
public enum ProbeResult: Sendable, Equatable {
    case success
    /// What went wrong, as an operator would say it.
    case failure(String)
    /// Nobody answered, not even with a refusal; what went wrong, as an operator would say it.
    case silence(String)

    public var isSuccess: Bool { self == .success }
}

/// A check that cannot be asked: what was given, and what is accepted.
public struct InvalidCheck: Error, Hashable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }
}

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
