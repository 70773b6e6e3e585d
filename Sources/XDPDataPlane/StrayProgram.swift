internal import Addresses
public import BPF
internal import CLinux
public import DataPlane
internal import Glibc
internal import LoadBalancing
internal import PacketPrograms

/// The tc program for interfaces without the packet program. It shares the director's pinned maps.
public struct StrayProgram {
    private let object: BPFObject

    public static let priority: UInt32 = 0x1b51
    public static let handle: UInt32 = 1

    public init(directory: String) throws(BPFError) {
        object = try BPFObject(.stray)
        try object.reuseDirectorMaps(below: directory)
        try object.load()
    }

    /// Puts the program on the interface, in place of an earlier one.
    public func attach(interface: Int32) throws(BPFError) {
        try BPFProgram.TrafficControlHook(
            interface: interface, direction: .ingress, priority: Self.priority, handle: Self.handle
        ).attach(object.program(named: "stray"))
    }
}

extension XDPDataPlane {
    /// The number of places for which `strays` has room.
    public static let maximumStrayPlaces = Int(IPVSD_STRAYS)

    /// Sets the places at which packets for VIPs are counted. Where a place's value is true, ARP requests for the VIP
    /// get no answer there. Returns the number of places that are left out for lack of room.
    public func setStrayPlaces(_ places: [StrayPlace: Bool]) throws(BPFError) -> Int {
        guard let strays = maps.strays else { return 0 }
        let present = try strays.entries()
        for (key, value) in present {
            let isSilent = places[StrayPlace(key)]
            if isSilent == nil { try strays.remove(key) }
            guard let flags = isSilent.map(ipvsd_stray.flags), flags != value.flags else { continue }
            var value = value
            value.flags = flags
            try strays.update(value, for: key)
        }
        let known = Set(present.map { StrayPlace($0.key) })
        // Silent places come before counting ones. The fixed order gives the same places their room each time.
        let missing = places.filter { !known.contains($0.key) }.sorted {
            ($0.value ? 0 : 1, $0.key.interface, $0.key.vip) < ($1.value ? 0 : 1, $1.key.interface, $1.key.vip)
        }
        var leftOut = 0
        for (place, isSilent) in missing {
            let value = ipvsd_stray(packets: 0, last: 0, flags: ipvsd_stray.flags(isSilent), reserved: 0)
            let key = ipvsd_stray_key(ifindex: UInt32(place.interface), vip: try place.vip.inMaps().bigEndian)
            do { _ = try strays.insert(value, for: key) } catch {
                guard error.code == E2BIG else { throw error }
                leftOut += 1
            }
        }
        return leftOut
    }

    /// The stray packets by the place where they came in.
    public func strayPackets() throws(BPFError) -> [StrayPlace: StrayPackets] { try maps.strayPackets() }
}

extension DirectorMaps {
    /// The stray packets by the place where they came in.
    public func strayPackets() throws(BPFError) -> [StrayPlace: StrayPackets] {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        let now = UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
        var found: [StrayPlace: StrayPackets] = [:]
        for (key, value) in try strays?.entries() ?? [] where value.packets > 0 {
            // A packet may have come since `now`.
            let age = Int64(now > value.last ? now - value.last : 0)
            found[StrayPlace(key)] = StrayPackets(count: value.packets, age: .nanoseconds(age))
        }
        return found
    }
}

extension StrayPlace {
    fileprivate init(_ key: ipvsd_stray_key) {
        self.init(interface: Int32(truncatingIfNeeded: key.ifindex), vip: .v4(IPv4Address(bigEndian: key.vip)))
    }
}

extension ipvsd_stray {
    fileprivate static func flags(_ isSilent: Bool) -> UInt32 { isSilent ? UInt32(IPVSD_STRAY_SILENT) : 0 }
}
