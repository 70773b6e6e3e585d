public import LoadBalancing

/// What the packet program is loaded with, so that it asks nothing that is known beforehand.
public struct PacketTraits: Sendable {
    /// It is attached to more than one device, or to one that is a port of several.
    public var hasSeveralIngress: Bool
    /// Some of the devices are ports of a bridge, which carries other hosts' frames too.
    public var isBridged: Bool
    /// The outer source is one of these, by the flow; nil: the director's own address.
    public var outerSources: IPv4Prefix?

    public init(hasSeveralIngress: Bool = false, isBridged: Bool = false, outerSources: IPv4Prefix? = nil) {
        self.hasSeveralIngress = hasSeveralIngress
        self.isBridged = isBridged
        self.outerSources = outerSources
    }
}
