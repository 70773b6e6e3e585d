internal import BPF
internal import CLinux
public import LoadBalancing
public import Netlink
internal import PacketPrograms

/// The one row of settings.
extension XDPDataPlane {
    func initializeSettings() {
        let settings = maps.settings.pointer(0)
        settings.storeBytes(of: UInt64.random(in: .min ... .max), toByteOffset: 8, as: UInt64.self)
        let timeouts: [(ipvsd_state, Int)] = [
            // ip_vs_proto_tcp.c's tcp_timeouts and ip_vs_proto_udp.c's udp_timeouts, in seconds.
            (IPVSD_STATE_NONE, 2), (IPVSD_STATE_SYN_RECV, 60), (IPVSD_STATE_ESTABLISHED, 900),
            (IPVSD_STATE_FIN_WAIT, 120), (IPVSD_STATE_TIME_WAIT, 120), (IPVSD_STATE_CLOSE, 10), (IPVSD_STATE_UDP, 300),
            (IPVSD_STATE_BARE_ACK, 900), (IPVSD_STATE_ONE_DATAGRAM, 300),
        ]
        for (state, seconds) in timeouts {
            let ticks = UInt16(min((seconds * 1_000_000_000) >> Int(IPVSD_TICK_SHIFT), 32767))
            settings.storeBytes(of: ticks, toByteOffset: timeoutOffset + 2 * Int(state.rawValue), as: UInt16.self)
        }
        settings.storeBytes(of: UInt32(IPVSD_ABI_VERSION), as: UInt32.self)
    }

    /// Frames longer than this were merged by the ingress interface.
    public func setIngressMTU(_ mtu: UInt32) {
        maps.settings.pointer(0).storeBytes(of: mtu, toByteOffset: 4, as: UInt32.self)
    }

    /// How many SYNs without a completed handshake make a server silent; 0: no number does.
    public func setSilentAfter(_ syns: UInt32) {
        maps.settings.pointer(0).storeBytes(of: syns, toByteOffset: silentAfterOffset, as: UInt32.self)
    }

    /// SYNs that were sent to the real server since a handshake with it completed.
    public func unansweredSYNs(server id: UInt32) -> UInt32 { maps.loads[Int(id)].unanswered }

    /// The destinations of frames that are for the director, which a bridge's other frames are told from. No more than
    /// eight are looked at.
    public func setOwnMACs(_ addresses: [MACAddress]) {
        for index in 0..<Int(IPVSD_OWN_MACS) {
            let bytes = index < addresses.count ? addresses[index].bytes : []
            let word = bytes.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            clinux_store_u64(maps.settings.pointer(0) + ownMACOffset + 8 * index, word)
        }
    }

    /// The director's addresses to which checks are answered.
    public func setCheckAddresses(_ addresses: [IPv4Address]) {
        for index in 0..<Int(IPVSD_CHECK_ADDRESSES) {
            let address = index < addresses.count ? addresses[index].bigEndian : 0
            maps.settings.pointer(0).storeBytes(
                of: address, toByteOffset: checkAddressOffset + 4 * index, as: UInt32.self)
        }
    }
}

private let ownMACOffset = MemoryLayout<ipvsd_settings>.offset(of: \.own_mac) ?? 8280
let timeoutOffset = MemoryLayout<ipvsd_settings>.offset(of: \.timeout) ?? 16
private let checkAddressOffset = MemoryLayout<ipvsd_settings>.offset(of: \.check_address) ?? 48
private let silentAfterOffset = MemoryLayout<ipvsd_settings>.offset(of: \.silent_after) ?? 80
