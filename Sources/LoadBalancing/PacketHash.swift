internal import PacketPrograms

/// The hash of flows and Maglev tables, which the packet program computes, too.
public enum PacketHash {
    public static func mix(_ value: UInt64) -> UInt64 { ipvsd_mix(value) }
}
