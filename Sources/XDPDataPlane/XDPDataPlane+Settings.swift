public import Addresses
public import BPF
internal import CLinux
public import LoadBalancing
internal import Netlink
internal import PacketPrograms

/// The one row of settings.
extension XDPDataPlane {
    func initializeSettings() {
        maps.settings.field(\.seed).pointee = .random(in: .min ... .max)
        setTimeouts(Timeouts())
        setHalfOpenLimit(defaultHalfOpenLimit)
        maps.settings.field(\.abi_version).pointee = UInt32(IPVSD_ABI_VERSION)
    }

    /// Frames longer than this were merged by the ingress interface.
    public func setIngressMTU(_ mtu: UInt32) {
        maps.settings.field(\.ingress_mtu).pointee = mtu
    }

    /// After how long connections in which nothing happens are forgotten.
    public func setTimeouts(_ timeouts: Timeouts) {
        let row = maps.settings.field(\.timeout, as: UInt16.self)
        for (state, seconds) in timeouts.ofStates { row[Int(state.rawValue)] = UInt16(Self.ticks(seconds: seconds)) }
    }

    /// At most what a stamp can tell.
    static func ticks(seconds: Int) -> UInt32 {
        UInt32(min((seconds * 1_000_000_000) >> Int(IPVSD_TICK_SHIFT), Int(IPVSD_TIMEOUT_LIMIT)))
    }

    /// Returns the whole seconds that the ticks were made of: their time, rounded up.
    static func seconds(ticks: Int) -> Int { (nanoseconds(ticks: ticks) + 999_999_999) / 1_000_000_000 }

    /// Returns the seconds with their fraction.
    static func exactSeconds(ticks: Int) -> Double { Double(nanoseconds(ticks: ticks)) / 1e9 }

    static func nanoseconds(ticks: Int) -> Int { ticks << Int(IPVSD_TICK_SHIFT) }

    /// While so many connections are half-open, new ones are not recorded; 0: any number may be.
    public func setHalfOpenLimit(_ limit: UInt32) {
        maps.settings.field(\.half_open_limit).pointee = limit
    }

    /// An eighth of the flow table.
    public var defaultHalfOpenLimit: UInt32 { UInt32(maps.flows.count * Int(IPVSD_WAYS) / 8) }

    /// Where packets go that are too big for their way and may be fragmented: by `interface`, whose peer has this MAC,
    /// and forwards. Nil: they are dropped.
    public func setFragmenting(interface: Int32, peer: MACAddress) throws(BPFError) {
        let mac = maps.settings.field(\.fragmenting_mac, as: UInt8.self)
        for (index, byte) in peer.bytes.enumerated() { mac[index] = byte }
        try maps.egress.update(UInt32(interface), for: UInt32(interface))
        maps.settings.field(\.fragmenting_ifindex).pointee = UInt32(interface)
    }

    /// The interface that `setFragmenting` named, as the maps below `directory` say; nil where there are none.
    public static func fragmentingInterface(directory: String) throws(BPFError) -> Int32? {
        try DirectorMaps(directory: directory, writable: false).map {
            Int32(truncatingIfNeeded: $0.fragmentingInterface)
        }
    }

    /// How many SYNs without a completed handshake make a server silent; 0: no number does.
    public func setSilentAfter(_ syns: UInt32) {
        maps.settings.field(\.silent_after).pointee = syns
    }

    /// As many as are looked at.
    public static let maximumOwnMACs = Int(IPVSD_OWN_MACS)

    /// Sets the destinations of frames that are for the director; of no others anything is taken. None: whatever comes is
    /// for it. `idle`: of macvlans that have no VIP now, as far as there are places left; frames for their services are dropped.
    public func setOwnMACs(_ addresses: [MACAddress], idle: [MACAddress] = []) {
        func word(_ address: MACAddress) -> UInt64 { ipvsd_mac_word(address.bytes) }
        let words = addresses.isEmpty ? [] : addresses.map(word) + idle.map { ~word($0) }
        let row = maps.settings.field(\.own_mac, as: UInt64.self)
        for index in 0..<Self.maximumOwnMACs {
            // A place that is left over has the first one again: 00:00:00:00:00:00 is nobody's.
            let word = index < words.count ? words[index] : words.first ?? 0
            clinux_store_u64(row + index, word)
        }
    }

    /// The director's addresses to which checks are answered.
    public func setCheckAddresses(_ addresses: [IPv4Address]) {
        let row = maps.settings.field(\.check_address, as: UInt32.self)
        for index in 0..<Int(IPVSD_CHECK_ADDRESSES) {
            row[index] = index < addresses.count ? addresses[index].bigEndian : 0
        }
    }
}

extension DirectorMaps {
    /// 0: none.
    var fragmentingInterface: UInt32 { settings.field(\.fragmenting_ifindex).pointee }

    /// By state, in ticks.
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
