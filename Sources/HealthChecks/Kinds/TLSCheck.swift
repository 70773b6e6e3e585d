/// Connects and completes a TLS handshake (RFC 8446, RFC 5246); nothing is sent inside it. Stages: connect, TLS
/// handshake, certificate.
public struct TLSCheck: Hashable, Sendable {
    public var port: UInt16
    public var options: TLSOptions

    public init(port: UInt16, options: TLSOptions = TLSOptions()) {
        self.port = port
        self.options = options
    }
}

/// How TLS is spoken, and what the certificate has to be.
public struct TLSOptions: Hashable, Sendable {
    public enum Verification: String, Hashable, Sendable, CaseIterable {
        /// Any certificate will do. Whether clients trust it is not a matter of one server's health.
        case none
        /// Its chain has to lead to a trusted root and be valid now.
        case chain
        /// And it has to name `serverName` or the address that is asked.
        case full
    }

    public enum TrustRoots: Hashable, Sendable {
        case system
        /// A PEM file, read once for each `Checker`.
        case file(String)
    }

    /// Sent as server name indication (RFC 6066); nil: none is sent.
    public var serverName: String?
    public var verification: Verification
    public var trustRoots: TrustRoots
    /// The server's certificate has to be valid for at least this long yet; `.zero`: it must not have expired. nil: not asked.
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
