public import Addresses

/// Where an operator wrote addresses, for errors that only the machine's state shows: `ipvsd.yaml:4: listeners 10.0.0.100`.
/// Two values are equal always: a configuration is the same wherever it was written.
public struct WrittenPlaces: Equatable, Sendable {
    private var vips: [IPAddress: String] = [:]
    private var servers: [IPAddress: String] = [:]

    public init() {}

    public static func == (one: WrittenPlaces, other: WrittenPlaces) -> Bool { true }

    /// The beginning of errors about a VIP; without a file its flag.
    public func ofVIP(_ vip: IPAddress) -> String { vips[vip] ?? "\(Options.listeners.flagName) \(vip)" }

    /// The same for a real server, or a sorry server.
    public func ofServer(_ server: IPAddress) -> String { servers[server] ?? "\(Options.servers.flagName) \(server)" }

    /// The first place of each counts.
    mutating func note(vip: IPAddress, _ place: String) { Self.note(vip, place, in: &vips) }
    mutating func note(server: IPAddress, _ place: String) { Self.note(server, place, in: &servers) }

    /// A mapping's place lacks the value.
    private static func note(_ address: IPAddress, _ place: String, in places: inout [IPAddress: String]) {
        if places[address] != nil { return }
        places[address] = place.contains("\(address)") ? place : "\(place) \(address)"
    }
}
