public import Addresses
internal import BPF
import LoadBalancing
internal import PacketPrograms

/// Finds the interface by which an encapsulated frame leaves, in the rows of `next_hops`.
public struct EgressFinder {
    /// The part of a frame that identifies its path: its MAC addresses and its outer destination.
    private struct Mark: Hashable {
        var macs: [UInt8]
        var server: UInt32
    }

    private let maps: DirectorMaps
    private var interfaces: [Mark: UInt32] = [:]
    private var read: ContinuousClock.Instant?
    /// The shortest time between two readings of all paths. To read them for each frame of a removed path would take
    /// long.
    private static let pause = Duration.milliseconds(100)

    /// Opens the maps; nil where there is no data plane below `directory`.
    public init?(directory: String) throws {
        guard let maps = try DirectorMaps(directory: directory, writable: false) else { return nil }
        self.maps = maps
    }

    /// Returns the interface for the first 12 bytes of a frame and its outer destination; nil where no known path fits.
    public mutating func interface(macs: some Sequence<UInt8>, server: IPv4Address) -> UInt32? {
        let mark = Mark(macs: Array(macs), server: server.bigEndian)
        if let known = interfaces[mark] { return known }
        if let read, read.duration(to: .now) < Self.pause { return nil }
        readWays()
        return interfaces[mark]
    }

    /// The interface of packets that the kernel fragments after encapsulation.
    public var fragmentingInterface: UInt32 { maps.fragmentingInterface }

    /// Whether the real server is the director itself.
    public func isLocal(_ server: IPv4Address) -> Bool {
        (0..<maps.nextHops.count).contains { index in
            let way = maps.nextHops[index]
            return way.destination == server.bigEndian && way.flags & IPVSD_NEXT_HOP_LOCAL != 0
        }
    }

    private mutating func readWays() {
        interfaces = [:]
        for index in 0..<maps.nextHops.count {
            let way = maps.nextHops[index]
            guard way.ifindex != 0 else { continue }
            let macs = withUnsafeBytes(of: way.eth_addrs) { Array($0) }
            interfaces[Mark(macs: macs, server: way.destination)] = way.ifindex
        }
        read = .now
    }
}
