public import Addresses
public import FoundationEssentials
public import LoadBalancing
internal import ServiceConfiguration

/// An event of a real server or a service, as scripts and `ipvsd events` get it.
public struct DirectorEvent: Sendable, Hashable, Codable {
    public enum Kind: String, Sendable, Hashable, Codable, CaseIterable {
        case serverUp = "server-up"
        case serverDown = "server-down"
        /// An operator has drained the real server, or has ended the drain.
        case serverDrained = "server-drained"
        case serverUndrained = "server-undrained"
        /// Flap damping holds out a real server that passes its checks again.
        case serverDamped = "server-damped"
        /// The service has no real server that gets new connections, or has one again.
        case serviceDown = "service-down"
        case serviceUp = "service-up"
        /// The usable weight fell below the service's quorum, or has reached it again.
        case quorumLost = "quorum-lost"
        case quorumRegained = "quorum-regained"
        /// The sorry server takes the service's new connections, or no longer.
        case sorryServerIn = "sorry-server-in"
        case sorryServerOut = "sorry-server-out"
        /// The director's own machine drops the packets of checks. The states of real servers do not change by that.
        case checkPathInDoubt = "check-path-in-doubt"
        /// A repair has put back something that the service needs, and that was missing from the director's machine.
        case restored
    }

    /// The service's state right after the event.
    public struct Standing: Sendable, Hashable, Codable {
        /// The number of real servers that get new connections.
        public var up: Int
        /// The number of configured real servers.
        public var total: Int
        /// The sum of the weights of real servers that get new connections.
        public var weight: Int
        /// The least usable weight that the service needs.
        public var quorum: Int

        public init(up: Int, total: Int, weight: Int, quorum: Int) {
            self.up = up
            self.total = total
            self.weight = weight
            self.quorum = quorum
        }
    }

    /// The event's number since the daemon's start: 1, 2, 3 and so on.
    public var sequence: UInt64
    /// The event's time, in whole milliseconds.
    public var time: Date
    public var kind: Kind
    /// The service's first listener.
    public var service: ServiceAddress
    /// The real server. Nil for events of the whole service.
    public var server: IPAddress?
    /// The reason, without control characters.
    public private(set) var reason: String?
    /// The start of the former state, or the daemon's start where that is unknown. Nil for a kind that has no opposite.
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
        // The reason may quote a peer's bytes, and goes to terminals, logs and environments.
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

    /// Returns the time in ISO 8601, to the millisecond. Half a millisecond is added, as the style truncates, and
    /// binary fractions are often too small.
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

    /// Encodes every key, with null for unknown values.
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

    /// Returns the event as one line of JSON in UTF-8, without a newline.
    public func json() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(self))
    }

    /// Returns the environment of a notification script, except PATH. `isStart` says that the event describes a state
    /// at the start, not a change.
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
