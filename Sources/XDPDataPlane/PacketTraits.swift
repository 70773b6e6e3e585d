public import Addresses

/// What the packet program is loaded with, so that it asks nothing that is known beforehand.
public struct PacketTraits: Sendable {
    /// It is attached to more than one device, or to one that is a port of several.
    public var hasSeveralIngress: Bool
    /// The outer source is one of these, by the flow; nil: the director's own address.
    public var outerSources: IPv4Prefix?

    public init(hasSeveralIngress: Bool = false, outerSources: IPv4Prefix? = nil) {
        self.hasSeveralIngress = hasSeveralIngress
        self.outerSources = outerSources
    }
}
