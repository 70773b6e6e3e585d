public import Addresses
internal import Glibc
import LoadBalancing
public import ServiceConfiguration

/// The import's access to names and files of the machine.
public struct ImportSurroundings: Sendable {
    /// Returns the IPv4 addresses of a host by its name. The list is empty for an unknown name.
    var addresses: @Sendable (_ host: String) -> [IPAddress]
    /// Returns the port of a service by its name, as in /etc/services, or nil for an unknown name.
    var port: @Sendable (_ service: String, TransportProtocol) -> UInt16?
    /// Returns the paths that match a pattern of glob(7), sorted.
    var matches: @Sendable (_ pattern: String) -> [String]
    /// Returns a file's text, or nil if it cannot be read.
    var text: @Sendable (_ path: String) -> String?
    var files: NamedFiles

    /// Surroundings without names and files.
    public static let isolated = ImportSurroundings(
        addresses: { _ in [] }, port: { _, _ in nil }, matches: { _ in [] }, text: { _ in nil }, files: .unseen)

    public static let present = ImportSurroundings(
        addresses: lookUp(host:), port: lookUp(service:transport:), matches: expand, text: contents, files: .present)

    public init(
        addresses: @escaping @Sendable (String) -> [IPAddress],
        port: @escaping @Sendable (String, TransportProtocol) -> UInt16?,
        matches: @escaping @Sendable (String) -> [String], text: @escaping @Sendable (String) -> String?,
        files: NamedFiles
    ) {
        self.addresses = addresses
        self.port = port
        self.matches = matches
        self.text = text
        self.files = files
    }

    private static func lookUp(host: String) -> [IPAddress] {
        var hints = addrinfo()
        hints.ai_family = AF_INET
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, nil, &hints, &list) == 0 else { return [] }
        defer { freeaddrinfo(list) }
        var addresses: [IPAddress] = []
        var next = list
        while let entry = next {
            if let address = entry.pointee.ai_addr, entry.pointee.ai_family == AF_INET {
                address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                    addresses.append(.v4(IPv4Address(bigEndian: $0.pointee.sin_addr.s_addr)))
                }
            }
            next = entry.pointee.ai_next
        }
        return addresses
    }

    private static func lookUp(service: String, transport: TransportProtocol) -> UInt16? {
        guard let entry = getservbyname(service, transport.rawValue) else { return nil }
        return UInt16(truncatingIfNeeded: entry.pointee.s_port).byteSwapped
    }

    private static func expand(_ pattern: String) -> [String] {
        var found = glob_t()
        defer { globfree(&found) }
        guard glob(pattern, GLOB_BRACE, nil, &found) == 0 else { return [] }
        return (0..<Int(found.gl_pathc)).compactMap { found.gl_pathv[$0].map { String(cString: $0) } }
    }

    private static func contents(_ path: String) -> String? { try? Import.text(of: path) }
}
