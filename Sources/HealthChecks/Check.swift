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
