/// A check of a real server: the request that is sent, and the answers that count as healthy. Equal checks of one
/// server need to run only once.
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

    /// Whether the check is a TCP connect or an ICMP echo. These exchange no application data, and cost almost nothing.
    public var isBare: Bool {
        switch self {
        case .echo, .tcp: true
        default: false
        }
    }

    /// The way of a check's packets.
    public enum Via: String, Hashable, Sendable, CaseIterable {
        /// The tunnel to the VIP, which clients' packets take.
        case tunnel
        /// The real server's own address, without the tunnel.
        case direct
        /// Both ways at once. The answer through the tunnel decides. The direct answer tells a broken tunnel from a
        /// broken service.
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

/// A check together with its way. Equal probes of one server need to run only once.
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

/// The result of a probe.
public enum ProbeResult: Sendable, Equatable {
    case success
    /// A failure in which the host or its service answered. The text is the reason, in an operator's words.
    case failure(String)
    /// A failure without any answer, not even a refusal. The text is the reason, in an operator's words.
    case silence(String)

    public var isSuccess: Bool { self == .success }
}

/// An error in the options of a check. The description has the given value and the accepted values.
public struct InvalidCheck: Error, Hashable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }
}

/// The syntax of texts that a check sends inside protocol messages. A line end or a control character in such a text
/// could begin another message.
private enum Wording {
    /// Returns whether the text is a token of HTTP (RFC 9110 section 5.6.2).
    static func isToken(_ text: String) -> Bool {
        !text.isEmpty
            && text.utf8.allSatisfy { byte in
                (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
                    || "!#$%&'*+-.^_`|~".utf8.contains(byte)
            }
    }

    /// Returns whether the text is not empty, and has neither white space nor control characters.
    static func isWord(_ text: String) -> Bool { !text.isEmpty && text.utf8.allSatisfy { $0 > 32 && $0 != 127 } }

    /// Returns whether the text may be the value of an HTTP field (RFC 9110 section 5.5).
    static func isFieldValue(_ text: String) -> Bool {
        text.utf8.allSatisfy { $0 == 9 || ($0 >= 32 && $0 != 127) }
    }
}

extension Check {
    /// The error that makes the check invalid for every server, or nil if the check is valid.
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
