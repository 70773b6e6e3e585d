public import Addresses
public import BPF
internal import CLinux
public import LoadBalancing
internal import Netlink
internal import PacketPrograms

/// The single row of the map `settings`.
extension XDPDataPlane {
    func initializeSettings() {
        maps.settings.field(\.seed).pointee = .random(in: .min ... .max)
        setTimeouts(Timeouts())
        setHalfOpenLimit(defaultHalfOpenLimit)
        maps.settings.field(\.abi_version).pointee = UInt32(IPVSD_ABI_VERSION)
    }

    /// Sets the MTU of the ingress interface. Longer frames were merged by the interface.
    public func setIngressMTU(_ mtu: UInt32) {
        maps.settings.field(\.ingress_mtu).pointee = mtu
    }

    /// Sets the times after which idle connections expire.
    public func setTimeouts(_ timeouts: Timeouts) {
        let row = maps.settings.field(\.timeout, as: UInt16.self)
        for (state, seconds) in timeouts.ofStates { row[Int(state.rawValue)] = UInt16(Self.ticks(seconds: seconds)) }
    }

    /// Returns the ticks of a time-out, at most the age that a stamp can express.
    static func ticks(seconds: Int) -> UInt32 {
        UInt32(min((seconds * 1_000_000_000) >> Int(IPVSD_TICK_SHIFT), Int(IPVSD_TIMEOUT_LIMIT)))
    }

    /// Returns the time of the ticks in whole seconds, rounded up.
    static func seconds(ticks: Int) -> Int { (nanoseconds(ticks: ticks) + 999_999_999) / 1_000_000_000 }

    /// Returns the time of the ticks in seconds with their fraction.
    static func exactSeconds(ticks: Int) -> Double { Double(nanoseconds(ticks: ticks)) / 1e9 }

    static func nanoseconds(ticks: Int) -> Int { ticks << Int(IPVSD_TICK_SHIFT) }

    /// Sets the number of half-open connections from which on new ones are not recorded; 0: no limit.
    public func setHalfOpenLimit(_ limit: UInt32) {
        maps.settings.field(\.half_open_limit).pointee = limit
    }

    /// The default limit, an eighth of the flow table.
    public var defaultHalfOpenLimit: UInt32 { UInt32(maps.flows.count * Int(IPVSD_WAYS) / 8) }

    /// Sets the interface for packets that exceed the path MTU and may be fragmented. Its peer has the MAC address
    /// `peer`, and forwards these packets. Without this setting they are dropped.
    public func setFragmenting(interface: Int32, peer: MACAddress) throws(BPFError) {
        let mac = maps.settings.field(\.fragmenting_mac, as: UInt8.self)
        for (index, byte) in peer.bytes.enumerated() { mac[index] = byte }
        try maps.egress.update(UInt32(interface), for: UInt32(interface))
        maps.settings.field(\.fragmenting_ifindex).pointee = UInt32(interface)
    }

    /// Returns the interface of `setFragmenting`, as the maps below `directory` have it; nil where there are no maps.
    public static func fragmentingInterface(directory: String) throws(BPFError) -> Int32? {
        try DirectorMaps(directory: directory, writable: false).map {
            Int32(truncatingIfNeeded: $0.fragmentingInterface)
        }
    }

    /// Sets the number of SYNs without a completed handshake that make a server silent; 0: no number does.
    public func setSilentAfter(_ syns: UInt32) {
        maps.settings.field(\.silent_after).pointee = syns
    }

    /// The number of MAC addresses that the packet program compares.
    public static let maximumOwnMACs = Int(IPVSD_OWN_MACS)

    /// Sets the destination MACs of frames for the director. All other frames pass. Where `addresses` is empty, all
    /// frames are for the director.
    /// `idle` has the MACs of macvlans without a VIP. They are set as far as there are places left. Frames to them for
    /// services are dropped.
    public func setOwnMACs(_ addresses: [MACAddress], idle: [MACAddress] = []) {
        func word(_ address: MACAddress) -> UInt64 { ipvsd_mac_word(address.bytes) }
        let words = addresses.isEmpty ? [] : addresses.map(word) + idle.map { ~word($0) }
        let row = maps.settings.field(\.own_mac, as: UInt64.self)
        for index in 0..<Self.maximumOwnMACs {
            // A free place repeats the first address, since 00:00:00:00:00:00 is no address of a host.
            let word = index < words.count ? words[index] : words.first ?? 0
            clinux_store_u64(row + index, word)
        }
    }

    /// Sets the director's addresses to which checks are answered.
    public func setCheckAddresses(_ addresses: [IPv4Address]) {
        let row = maps.settings.field(\.check_address, as: UInt32.self)
        for index in 0..<Int(IPVSD_CHECK_ADDRESSES) {
            row[index] = index < addresses.count ? addresses[index].bigEndian : 0
        }
    }
}

extension DirectorMaps {
    /// The index of the interface for fragmenting; 0: none.
    var fragmentingInterface: UInt32 { settings.field(\.fragmenting_ifindex).pointee }

    /// The time-outs in ticks, by state.
    var timeouts: [UInt16] {
        let row = settings.field(\.timeout, as: UInt16.self)
        return (0..<Int(IPVSD_STATE_MAX.rawValue)).map { row[$0] }
    }
}

extension Timeouts {
    var ofStates: [(ipvsd_state, Int)] {
        [
            (IPVSD_STATE_NONE, 2), (IPVSD_STATE_SYN_RECV, tcpSyn), (IPVSD_STATE_ESTABLISHED, tcp),
            (IPVSD_STATE_FIN_WAIT, tcpFin), (IPVSD_STATE_TIME_WAIT, 120), (IPVSD_STATE_CLOSE, 10),
            (IPVSD_STATE_UDP, udp), (IPVSD_STATE_BARE_ACK, tcp), (IPVSD_STATE_ONE_DATAGRAM, udp),
        ]
    }
}
