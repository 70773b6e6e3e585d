/// Sends one request and judges its response (RFC 9110), by HTTP/1.1 (RFC 9112) or HTTP/2 (RFC 9113), in clear or by TLS.
/// Redirects are not followed. Stages: connect, TLS handshake, certificate, headers, body, body match.
///
/// The body is always awaited, up to `bodyLimit`: a server that stalls in the middle of one is not healthy.
public struct HTTPCheck: Hashable, Sendable {
    public enum Version: String, Hashable, Sendable, CaseIterable {
        case http11 = "1.1"
        /// By ALPN where there is TLS, else with prior knowledge.
        case http2 = "2"
    }

    public struct Field: Hashable, Sendable {
        public var name: String
        public var value: String

        public init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    /// What the body has to be. Texts are UTF-8.
    public enum Expectation: Hashable, Sendable {
        case contains(String)
        case matches(Pattern)
        /// Of the body as it arrived, however long it is, content coding included: 32 bytes.
        case sha256([UInt8])
    }

    public var port: UInt16
    public var method: String
    /// The request target in origin form, with a query where there is one.
    public var path: String
    /// Host, or :authority; nil: the address that is asked, with its port unless it is the scheme's own.
    public var host: String?
    /// Further fields; User-Agent, Accept and Connection replace the ones that are sent by default.
    public var fields: [Field]
    public var version: Version
    /// nil: in clear. Where it names no server, `host` is the server name, unless it is an address.
    public var tls: TLSOptions?
    public var status: [ClosedRange<Int>]
    public var body: [Expectation]
    /// Bytes of the body that are read, and searched; a digest takes all of it.
    public var bodyLimit: Int

    public init(
        port: UInt16, method: String = "GET", path: String = "/", host: String? = nil, fields: [Field] = [],
        version: Version = .http11, tls: TLSOptions? = nil, status: [ClosedRange<Int>] = [200...399],
        body: [Expectation] = [], bodyLimit: Int = 65_536
    ) {
        self.port = port
        self.method = method
        self.path = path
        self.host = host
        self.fields = fields
        self.version = version
        self.tls = tls
        self.status = status
        self.body = body
        self.bodyLimit = bodyLimit
    }
}

/// Calls grpc.health.v1.Health/Check and expects SERVING (the gRPC health checking protocol; gRPC over HTTP/2). Stages:
/// connect, TLS handshake, certificate, headers, body, trailers.
public struct GRPCHealthCheck: Hashable, Sendable {
    public var port: UInt16
    /// The service that is asked for; empty: the server as a whole.
    public var service: String
    /// :authority; nil: the address that is asked, with its port.
    public var authority: String?
    public var tls: TLSOptions?

    public init(port: UInt16, service: String = "", authority: String? = nil, tls: TLSOptions? = nil) {
        self.port = port
        self.service = service
        self.authority = authority
        self.tls = tls
    }
}
