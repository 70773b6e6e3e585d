public import BPF
internal import CLinux
public import LoadBalancing
public import Netlink
internal import PacketPrograms

/// The one row of settings.
extension XDPDataPlane {
    func initializeSettings() {
        let settings = maps.settings.pointer(0)
        settings.storeBytes(of: UInt64.random(in: .min ... .max), toByteOffset: 8, as: UInt64.self)
        setTimeouts(Timeouts())
        setHalfOpenLimit(defaultHalfOpenLimit)
        settings.storeBytes(of: UInt32(IPVSD_ABI_VERSION), as: UInt32.self)
    }

    /// Frames longer than this were merged by the ingress interface.
    public func setIngressMTU(_ mtu: UInt32) {
        maps.settings.pointer(0).storeBytes(of: mtu, toByteOffset: 4, as: UInt32.self)
    }

    /// After how long connections in which nothing happens are forgotten.
    public func setTimeouts(_ timeouts: Timeouts) {
        let settings = maps.settings.pointer(0)
        for (state, seconds) in timeouts.ofStates {
            let ticks = UInt16(Self.ticks(seconds: seconds))
            settings.storeBytes(of: ticks, toByteOffset: timeoutOffset + 2 * Int(state.rawValue), as: UInt16.self)
        }
    }

    /// At most what a stamp can tell.
    static func ticks(seconds: Int) -> UInt32 {
        UInt32(min((seconds * 1_000_000_000) >> Int(IPVSD_TICK_SHIFT), 32767))
    }

    /// Rounded up: what ticks were made of.
    static func seconds(ticks: Int) -> Int { ((ticks << Int(IPVSD_TICK_SHIFT)) + 999_999_999) / 1_000_000_000 }

    /// While so many connections are half-open, new ones are not recorded; 0: any number may be.
    public func setHalfOpenLimit(_ limit: UInt32) {
        maps.settings.pointer(0).storeBytes(of: limit, toByteOffset: halfOpenLimitOffset, as: UInt32.self)
    }

    /// An eighth of the flow table.
    public var defaultHalfOpenLimit: UInt32 { UInt32(maps.flows.count * Int(IPVSD_WAYS) / 8) }

    /// Where packets go that are too big for their way and may be fragmented: by `interface`, whose peer has this MAC,
    /// and forwards. Nil: they are dropped.
    public func setFragmenting(interface: Int32, peer: MACAddress) throws(BPFError) {
        let settings = maps.settings.pointer(0)
        for (index, byte) in peer.bytes.enumerated() {
            settings.storeBytes(of: byte, toByteOffset: fragmentingMACOffset + index, as: UInt8.self)
        }
        try maps.egress.update(UInt32(interface), for: UInt32(interface))
        settings.storeBytes(of: UInt32(interface), toByteOffset: fragmentingOffset, as: UInt32.self)
    }

    /// The interface that `setFragmenting` named, as the maps below `directory` say; nil where there are none.
    public static func fragmentingInterface(directory: String) throws(BPFError) -> Int32? {
        try DirectorMaps(directory: directory, writable: false).map {
            Int32(truncatingIfNeeded: $0.fragmentingInterface)
        }
    }

    /// How many SYNs without a completed handshake make a server silent; 0: no number does.
    public func setSilentAfter(_ syns: UInt32) {
        maps.settings.pointer(0).storeBytes(of: syns, toByteOffset: silentAfterOffset, as: UInt32.self)
    }

    /// SYNs that were sent to the real server since a handshake with it completed.
    public func unansweredSYNs(server id: UInt32) -> UInt32 { maps.loads[Int(id)].unanswered }

    /// By the ids of the real servers to which at least so many were sent.
    public func unansweredSYNs(atLeast least: UInt32) -> [UInt32: UInt32] {
        var found: [UInt32: UInt32] = [:]
        for id in 1..<maps.loads.count {
            let unanswered = maps.loads[id].unanswered
            if unanswered >= least { found[UInt32(id)] = unanswered }
        }
        return found
    }

    /// Which real server of which service has the id; nil: none that is configured.
    public func server(id: UInt32) -> (service: ServiceAddress, server: IPv4Address)? {
        let row = maps.servers[Int(id)]
        let address = IPv4Address(bigEndian: row.address)
        guard serverIDs[Int(row.service), address] == Int(id), let service = primaryAddresses[Int(row.service)] else {
            return nil
        }
        return (service, address)
    }

    /// As many as are looked at.
    public static let maximumOwnMACs = Int(IPVSD_OWN_MACS)

    /// Sets the destinations of frames that are for the director; of no others anything is taken. None: whatever comes is
    /// for it. `idle`: of macvlans that have no VIP now, as far as there are places left; frames for their services are dropped.
    public func setOwnMACs(_ addresses: [MACAddress], idle: [MACAddress] = []) {
        func word(_ address: MACAddress) -> UInt64 { address.bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) } }
        let words = addresses.isEmpty ? [] : addresses.map(word) + idle.map { ~word($0) }
        for index in 0..<Self.maximumOwnMACs {
            // A place that is left over has the first one again: 00:00:00:00:00:00 is nobody's.
            let word = index < words.count ? words[index] : words.first ?? 0
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

extension DirectorMaps {
    /// 0: none.
    var fragmentingInterface: UInt32 { settings.pointer(0).load(fromByteOffset: fragmentingOffset, as: UInt32.self) }
}

let ownMACOffset = MemoryLayout<ipvsd_settings>.offset(of: \.own_mac) ?? 8280
let timeoutOffset = MemoryLayout<ipvsd_settings>.offset(of: \.timeout) ?? 16
private let checkAddressOffset = MemoryLayout<ipvsd_settings>.offset(of: \.check_address) ?? 48
let halfOpenLimitOffset = MemoryLayout<ipvsd_settings>.offset(of: \.half_open_limit) ?? 84
private let fragmentingOffset = MemoryLayout<ipvsd_settings>.offset(of: \.fragmenting_ifindex) ?? 88
private let fragmentingMACOffset = MemoryLayout<ipvsd_settings>.offset(of: \.fragmenting_mac) ?? 92
let silentAfterOffset = MemoryLayout<ipvsd_settings>.offset(of: \.silent_after) ?? 80
