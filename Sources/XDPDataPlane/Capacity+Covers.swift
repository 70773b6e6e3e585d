/// Whether tables that are there will do.
extension Capacity {
    /// Whether no table of the other one would be larger.
    public func covers(_ other: Capacity) -> Bool {
        other.sizes.allSatisfy { map, size in (sizes[map] ?? 0) >= size }
    }

    /// Large enough for either.
    public func joined(with other: Capacity) -> Capacity {
        var joined = self
        joined.flowBuckets = max(flowBuckets, other.flowBuckets)
        joined.listenerBuckets = max(listenerBuckets, other.listenerBuckets)
        joined.services = max(services, other.services)
        joined.servers = max(servers, other.servers)
        joined.slotGroups = max(slotGroups, other.slotGroups)
        joined.templates = max(templates, other.templates)
        return joined
    }
}
