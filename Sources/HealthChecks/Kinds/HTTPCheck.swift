/// A check that sends one request, and judges its response (RFC 9110). It uses HTTP/1.1 (RFC 9112) or HTTP/2 (RFC
/// 9113), with or without TLS. It does not follow redirects. Its stages are connect, TLS handshake, certificate,
/// headers, body and body match.
///
/// The check always reads the body, up to `bodyLimit`. A server that stalls in the middle of a body is not healthy.
public struct HTTPCheck: Hashable, Sendable {
    public enum Version: String, Hashable, Sendable, CaseIterable {
        case http11 = "1.1"
        /// HTTP/2, negotiated by ALPN over TLS, and by prior knowledge without TLS.
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

    /// A condition on the body. Texts are UTF-8.
    public enum Expectation: Hashable, Sendable {
        case contains(String)
        case matches(Pattern)
        /// The SHA-256 digest of the whole body as received, with its content coding, in 32 bytes.
        case sha256([UInt8])
    }

    public var port: UInt16
    public var method: String
    /// The request target: a path, optionally with a query, or "*".
    public var path: String
    /// The value of Host or :authority. Nil stands for the value of a field Host in `fields`. Without such a field, nil
    /// stands for the address of the check, with the port unless it is the scheme's default.
    public var host: String?
    /// The further fields of the request. User-Agent, Accept and Connection replace the default ones.
    public var fields: [Field]
    public var version: Version
    /// The options of TLS, or nil for a connection without TLS. If they have no server name, `host` is the server name,
    /// unless it is an address.
    public var tls: TLSOptions?
    /// The status codes that count as healthy.
    public var status: [ClosedRange<Int>]
    public var body: [Expectation]
    /// The number of bytes of the body that are read and searched. A digest reads the whole body.
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

/// A check that calls grpc.health.v1.Health/Check, and expects SERVING (the gRPC health checking protocol; gRPC over
/// HTTP/2). Its stages are connect, TLS handshake, certificate, headers, body and trailers.
public struct GRPCHealthCheck: Hashable, Sendable {
    public var port: UInt16
    /// The name of the gRPC service. An empty name stands for the server as a whole.
    public var service: String
    /// The value of :authority. Nil stands for the address of the check, with its port.
    public var authority: String?
    public var tls: TLSOptions?

    public init(port: UInt16, service: String = "", authority: String? = nil, tls: TLSOptions? = nil) {
        self.port = port
        self.service = service
        self.authority = authority
        self.tls = tls
    }
}
