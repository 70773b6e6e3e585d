public import Addresses
import LoadBalancing

/// An interface and a VIP for which packets may come in there past the data plane.
public struct StrayPlace: Hashable, Sendable {
    public var interface: Int32
    public var vip: IPAddress

    public init(interface: Int32, vip: IPAddress) {
        self.interface = interface
        self.vip = vip
    }
}

/// Packets for a service that came in past the data plane.
public struct StrayPackets: Equatable, Sendable {
    public var count: UInt64
    /// How long ago the last one came.
    public var age: Duration

    public init(count: UInt64, age: Duration) {
        self.count = count
        self.age = age
    }
}
