internal import Addresses

/// A request of any version of HTTP. Field names are in lower case.
struct HTTPRequest: Hashable {
    var method: String
    var scheme: String
    var authority: String
    var path: String
    var fields: [HTTPCheck.Field]
    var body: [UInt8] = []

    /// The bytes of the request in HTTP/1.1. Checks by HTTP/1.1 send no body.
    var http1Head: [UInt8] {
        let lines = ["\(method) \(path) HTTP/1.1", "Host: \(authority)"] + fields.map { "\($0.name): \($0.value)" }
        return Array(lines.map { $0 + "\r\n" }.joined().utf8) + [13, 10]
    }
}

extension HTTPCheck {
    func request(to address: IPAddress) -> HTTPRequest {
        let given = fields.map { Field($0.name.asciiLowercased, $0.value) }
        var fields = given.filter { $0.name != "host" }
        for field in [Field("user-agent", "ipvsd"), Field("accept", "*/*")] where !fields.contains(name: field.name) {
            fields.append(field)
        }
        switch version {
        case .http11:
            if !fields.contains(name: "connection") { fields.append(Field("connection", "close")) }
        case .http2:
            // HTTP/2 forbids these fields (RFC 9113 section 8.2.2).
            fields.removeAll { ["connection", "keep-alive", "transfer-encoding", "upgrade"].contains($0.name) }
        }
        // A request with one of these methods has a Content-Length even if it has no body (RFC 9110 section 8.6).
        if ["POST", "PUT", "PATCH"].contains(method), !fields.contains(name: "content-length") {
            fields.append(Field("content-length", "0"))
        }
        return HTTPRequest(
            method: method, scheme: tls == nil ? "http" : "https",
            authority: host ?? given.first(name: "host") ?? authority(of: address), path: path, fields: fields)
    }

    private func authority(of address: IPAddress) -> String {
        port == (tls == nil ? 80 : 443) ? address.inAuthority : "\(address.inAuthority):\(port)"
    }

    /// The options of TLS, with `host` as the server name if none is configured.
    var handshake: TLSOptions? {
        guard var options = tls else { return nil }
        options.serverName = options.serverName ?? Authority.serverName(host)
        return options
    }
}

extension GRPCHealthCheck {
    /// Returns the request of gRPC over HTTP/2: a Length-Prefixed-Message of HealthCheckRequest, whose field 1 is the
    /// service.
    func request(to address: IPAddress) -> HTTPRequest {
        let fields: [HTTPCheck.Field] = [
            .init("content-type", "application/grpc"), .init("te", "trailers"), .init("user-agent", "ipvsd"),
        ]
        return HTTPRequest(
            method: "POST", scheme: tls == nil ? "http" : "https",
            authority: authority ?? "\(address.inAuthority):\(port)",
            path: "/grpc.health.v1.Health/Check", fields: fields, body: GRPCMessage.framed(requestMessage))
    }

    private var requestMessage: [UInt8] {
        let name = Array(service.utf8)
        return name.isEmpty ? [] : [0x0A] + GRPCMessage.varint(UInt64(name.count)) + name
    }

    var handshake: TLSOptions? {
        guard var options = tls else { return nil }
        options.serverName = options.serverName ?? Authority.serverName(authority)
        return options
    }
}

extension IPAddress {
    /// The address as the host of an authority. IPv6 is in brackets (RFC 3986 section 3.2.2).
    fileprivate var inAuthority: String { family == .v6 ? "[\(self)]" : description }
}

enum Authority {
    /// Returns the host of an authority. Returns nil if there is none, or if it is an address, which may not be a
    /// server name (RFC 6066 section 3).
    static func serverName(_ authority: String?) -> String? {
        guard let host = authority?.split(separator: ":", omittingEmptySubsequences: false).first, !host.isEmpty,
            !host.hasPrefix("["), IPAddress(String(host)) == nil
        else { return nil }
        return String(host)
    }
}

extension [HTTPCheck.Field] {
    func first(name: String) -> String? { first { $0.name == name }?.value }
    func contains(name: String) -> Bool { first(name: name) != nil }
}
