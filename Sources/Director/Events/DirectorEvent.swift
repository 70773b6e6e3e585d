public import Addresses
public import FoundationEssentials
public import LoadBalancing
internal import ServiceConfiguration

/// Something that happened to a real server or a service, as scripts, `ipvsd events` and the log tell it.
public struct DirectorEvent: Sendable, Hashable, Codable {
    public enum Kind: String, Sendable, Hashable, Codable, CaseIterable {
        case serverUp = "server-up"
        case serverDown = "server-down"
        /// An operator's drain, and its end.
        case serverDrained = "server-drained"
        case serverUndrained = "server-undrained"
        /// It passes its checks again, but has fallen too often, and is kept out for a time.
        case serverDamped = "server-damped"
        /// No real server is left that gets new connections; and there is one again.
        case serviceDown = "service-down"
        case serviceUp = "service-up"
        /// The usable weight fell below the service's quorum, or has reached it again.
        case quorumLost = "quorum-lost"
        case quorumRegained = "quorum-regained"
        /// The sorry server takes the service's new connections, or no longer.
        case sorryServerIn = "sorry-server-in"
        case sorryServerOut = "sorry-server-out"
        /// Checks fail by the director's own fault: its machine drops their packets. Its real servers stay as they are.
        case checkPathInDoubt = "check-path-in-doubt"
        /// Something that the director had put into its machine, and that the service needs, was missing, and is put back.
        case restored
    }

    /// What a service was like right after the event.
    public struct Standing: Sendable, Hashable, Codable {
        /// Real servers that get new connections.
        public var up: Int
        /// Real servers of the configuration.
        public var total: Int
        /// The sum of the weights of those that get new connections.
        public var weight: Int
        /// The usable weight that the service is to have at least.
        public var quorum: Int

        public init(up: Int, total: Int, weight: Int, quorum: Int) {
            self.up = up
            self.total = total
            self.weight = weight
            self.quorum = quorum
        }
    }

    /// From 1 on, without gaps, since the daemon started.
    public var sequence: UInt64
    /// In whole milliseconds.
    public var time: Date
    public var kind: Kind
    /// The service's first listener.
    public var service: ServiceAddress
    /// Nil of events of the service as a whole.
    public var server: IPAddress?
    /// Without control characters.
    public private(set) var reason: String?
    /// Since when it had been otherwise, or the daemon has run.
    public var since: Date?
    public var standing: Standing

    public init(
        sequence: UInt64 = 0, time: Date = Date(), kind: Kind, service: ServiceAddress, server: IPAddress? = nil,
        reason: String? = nil, since: Date? = nil, standing: Standing
    ) {
        self.sequence = sequence
        self.time = Self.inMilliseconds(time)
        self.kind = kind
        self.service = service
        self.server = server
        // What others said may be in it; it goes to terminals, logs and environments.
        self.reason = reason?.onOneLine
        self.since = since
        self.standing = standing
    }

    enum CodingKeys: String, CodingKey {
        case sequence, time, event, service, server, reason, since, up, total, weight, quorum
    }

    private static let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)

    private static func inMilliseconds(_ date: Date) -> Date {
        Date(timeIntervalSince1970: (date.timeIntervalSince1970 * 1000).rounded() / 1000)
    }

    /// The style cuts off, and most milliseconds are a little less than themselves in binary.
    private static func text(of date: Date) -> String { style.format(date + 0.000_5) }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        func date(_ text: String, _ key: CodingKeys) throws -> Date {
            do { return Self.inMilliseconds(try Self.style.parse(text)) } catch {
                throw DecodingError.dataCorruptedError(
                    forKey: key, in: container, debugDescription: "\(text) is no date of ISO 8601")
            }
        }
        sequence = try container.decode(UInt64.self, forKey: .sequence)
        time = try date(try container.decode(String.self, forKey: .time), .time)
        kind = try container.decode(Kind.self, forKey: .event)
        let text = try container.decode(String.self, forKey: .service)
        guard let address = try? AddressText.service(text) else {
            throw DecodingError.dataCorruptedError(
                forKey: .service, in: container, debugDescription: "\(text) is no service")
        }
        service = address
        server = try container.decodeIfPresent(IPAddress.self, forKey: .server)
        reason = try container.decodeIfPresent(String.self, forKey: .reason)
        since = try container.decodeIfPresent(String.self, forKey: .since).map { try date($0, .since) }
        standing = Standing(
            up: try container.decode(Int.self, forKey: .up), total: try container.decode(Int.self, forKey: .total),
            weight: try container.decode(Int.self, forKey: .weight),
            quorum: try container.decode(Int.self, forKey: .quorum))
    }

    /// Every key is there, with null for what is not known.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(sequence, forKey: .sequence)
        try container.encode(Self.text(of: time), forKey: .time)
        try container.encode(kind, forKey: .event)
        try container.encode(service.description, forKey: .service)
        try container.encode(server, forKey: .server)
        try container.encode(reason, forKey: .reason)
        try container.encode(since.map(Self.text), forKey: .since)
        try container.encode(standing.up, forKey: .up)
        try container.encode(standing.total, forKey: .total)
        try container.encode(standing.weight, forKey: .weight)
        try container.encode(standing.quorum, forKey: .quorum)
    }

    /// One line, UTF-8, without its end.
    public func json() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(self))
    }

    /// Makes the variables of a notify program, except PATH. `isStart`: the event tells how a service begins.
    public func environment(isStart: Bool = false) -> [String: String] {
        var variables = [
            "IPVSD_EVENT": kind.rawValue,
            "IPVSD_SEQUENCE": "\(sequence)",
            "IPVSD_TIME": Self.text(of: time),
            "IPVSD_SERVICE": service.description,
            "IPVSD_UP": "\(standing.up)",
            "IPVSD_TOTAL": "\(standing.total)",
            "IPVSD_WEIGHT": "\(standing.weight)",
            "IPVSD_QUORUM": "\(standing.quorum)",
        ]
        if let server { variables["IPVSD_SERVER"] = server.description }
        if let reason { variables["IPVSD_REASON"] = reason }
        if let since { variables["IPVSD_SINCE"] = Self.text(of: since) }
        if isStart { variables["IPVSD_AT_START"] = "yes" }
        return variables
    }
}
