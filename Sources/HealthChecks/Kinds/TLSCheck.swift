/// A check that connects, and completes a TLS handshake (RFC 8446, RFC 5246) without sending data. Its stages are
/// connect, TLS handshake and certificate.
public struct TLSCheck: Hashable, Sendable {
    public var port: UInt16
    public var options: TLSOptions

    public init(port: UInt16, options: TLSOptions = TLSOptions()) {
        self.port = port
        self.options = options
    }
}

/// The options of TLS, and the requirements on the certificate.
public struct TLSOptions: Hashable, Sendable {
    public enum Verification: String, Hashable, Sendable, CaseIterable {
        /// No verification: any certificate passes. Clients' trust in the certificate is not a matter of one server's
        /// health.
        case none
        /// The certificate chain must lead to a trusted root, and be valid now.
        case chain
        /// The same as `chain`, and the certificate must name `serverName` or the address of the check.
        case full
    }

    public enum TrustRoots: Hashable, Sendable {
        case system
        /// The path of a PEM file. A `Checker` reads the file once for each `Verification` and ALPN protocol.
        case file(String)
    }

    /// The server name indication (RFC 6066), or nil to send none.
    public var serverName: String?
    public var verification: Verification
    public var trustRoots: TrustRoots
    /// The time for which the server's certificate must still be valid. `.zero` demands a certificate that has not
    /// expired, and nil demands nothing.
    public var minimumValidity: Duration?

    public init(
        serverName: String? = nil, verification: Verification = .none, trustRoots: TrustRoots = .system,
        minimumValidity: Duration? = nil
    ) {
        self.serverName = serverName
        self.verification = verification
        self.trustRoots = trustRoots
        self.minimumValidity = minimumValidity
    }
}
