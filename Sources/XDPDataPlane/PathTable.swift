public import Addresses
public import BPF
internal import Glibc
internal import PacketPrograms

/// The rows of `next_hops`, one for each reachable address of a real server. Each row also has a counter of outer
/// identifications (ipvsd_ids.h).
struct PathTable {
    private let maps: DirectorMaps
    private(set) var paths: [IPv4Address: Path]
    /// The row of each real server's address.
    private(set) var rows: [IPv4Address: Int]
    private var allocator: RowAllocator
    /// The next outer identification for each real server that has no path now.
    private var lastOuterIDs: [IPv4Address: UInt32] = [:]

    init(of maps: DirectorMaps, adopting adopted: AdoptedRows) {
        self.maps = maps
        paths = adopted.paths
        rows = adopted.pathIDs
        allocator = RowAllocator(count: maps.nextHops.count, used: adopted.usedPaths)
        setMissingOuterIDs()
    }

    var usedCount: Int { allocator.usedCount }
    var heldCount: Int { allocator.heldCount() }
    var size: Int { maps.nextHops.count }

    /// Writes the path to a new row, and releases the former row after `publish` has put the new row into use. Without
    /// a path, `publish` gets row 0.
    mutating func set(_ path: Path?, to address: IPv4Address, publish: (_ row: Int) -> Void) throws(BPFError) {
        guard paths[address] != path || (path != nil && rows[address] == nil) else { return }
        var row = 0
        if let path {
            row = try allocate()
            do throws(BPFError) {
                maps.nextHops[row] = path.row
                if !path.isLocal { try maps.egress.update(UInt32(path.interface), for: UInt32(path.interface)) }
                try setOuterIDs(ofRow: row, to: address)
            } catch {
                allocator.release(row)
                throw error
            }
        }
        publish(row)
        if let old = rows[address] {
            if path == nil { lastOuterIDs[address] = maps.outerIDs.map { $0[old] } }
            allocator.release(old)
        }
        rows[address] = row == 0 ? nil : row
        paths[address] = path
    }

    /// Releases the rows of all other addresses.
    mutating func keep(_ addresses: Set<IPv4Address>) {
        for (address, row) in rows where !addresses.contains(address) {
            allocator.release(row)
            rows[address] = nil
            paths[address] = nil
        }
        lastOuterIDs = lastOuterIDs.filter { addresses.contains($0.key) }
    }

    /// Returns a free row. Where many changes at once have left all rows at rest, the call waits until they are free.
    private mutating func allocate() throws(BPFError) -> Int {
        if let row = allocator.allocate() { return row }
        RowAllocator.waitForGrace()
        if let row = allocator.allocate() { return row }
        throw BPFError("find room for a path: all \(size - 1) are in use", code: ENOSPC)
    }

    // MARK: Outer identifications

    /// Sets the row's counter before packets use the row. The counter begins ahead of the real server's former counter,
    /// or at random if there is none.
    private mutating func setOuterIDs(ofRow row: Int, to address: IPv4Address) throws(BPFError) {
        guard let counters = maps.outerIDs, let blocks = maps.idBlocks else { return }
        // The blocks belong to the real server that had the row before.
        try blocks.clear(UInt32(row))
        let former = rows[address].map { counters[$0] } ?? lastOuterIDs[address]
        counters[row] = former.map { $0 &+ IPVSD_ID_LEAD } ?? Self.randomOuterID()
        lastOuterIDs[address] = nil
    }

    /// Sets the counters of rows that an older daemon made without them.
    private func setMissingOuterIDs() {
        guard let counters = maps.outerIDs else { return }
        for row in rows.values where counters[row] == 0 { counters[row] = Self.randomOuterID() }
    }

    /// Returns a random multiple of IPVSD_ID_BLOCK. Directors that start at the same time, or anew, then begin with
    /// different identifications.
    private static func randomOuterID() -> UInt32 {
        UInt32.random(in: .min ... .max) / IPVSD_ID_BLOCK * IPVSD_ID_BLOCK
    }
}

extension XDPDataPlane {
    /// The path to a real server; nil while it has none.
    public func path(to address: IPv4Address) -> Path? { pathTable.paths[address] }

    /// Sets the path to a real server; nil: it has none now.
    public func setPath(_ path: Path?, to address: IPv4Address) throws(BPFError) {
        try pathTable.set(path, to: address) { row in
            for id in serverIDs.ofAddress(address) {
                let server = maps.servers[id]
                writeWord(id, path: UInt32(row), weight: server.weight, flags: UInt32(server.flags))
            }
        }
    }
}
