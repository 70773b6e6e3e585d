/// The types of checks in the configuration file.
package enum CheckType: String, CaseIterable, Sendable {
    case ping, mtu, tcp, tls, http, https, grpc, smtp, dns, udp, script, file

    /// The types that speak TLS, or can.
    static let overTLS: [CheckType] = [.tls, .https, .grpc]
    static let overHTTP: [CheckType] = [.http, .https]
    static let withPort: [CheckType] = [.tcp, .tls, .http, .https, .grpc, .smtp, .dns, .udp]
}
