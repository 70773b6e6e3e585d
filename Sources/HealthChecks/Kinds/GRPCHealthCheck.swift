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
