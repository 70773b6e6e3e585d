public import Addresses

/// A server behind a virtual service, as the operator states it.
public struct RealServer: Hashable, Sendable {
    public var address: IPAddress
    /// The share of new connections in relation to the other servers' weights; 0 quiesces: connections stay, none are
    /// added.
    public var weight: UInt16
    public var thresholds: ConnectionThresholds?

    public init(address: IPAddress, weight: UInt16 = 1, thresholds: ConnectionThresholds? = nil) {
        self.address = address
        self.weight = weight
        self.thresholds = thresholds
    }
}
