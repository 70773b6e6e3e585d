public import Addresses
public import BPF
internal import Glibc
internal import PacketPrograms

/// The rows of `next_hops`: how each real server is reached.
extension XDPDataPlane {
    /// How a real server is reached now.
    public func path(to address: IPv4Address) -> Path? { paths[address] }

    /// Says how a real server is reached; nil: there is no way now.
    public func setPath(_ path: Path?, to address: IPv4Address) throws(BPFError) {
        guard paths[address] != path || (path != nil && pathIDs[address] == nil) else { return }
        var row = 0
        if let path {
            row = try allocatePath()
            do {
                maps.nextHops[row] = path.row
                if !path.isLocal { try maps.egress.update(UInt32(path.interface), for: UInt32(path.interface)) }
                try beginOuterIDs(ofPath: row, to: address)
            } catch {
                pathRows.release(row)
                throw error
            }
        }
        for id in serverIDs.ofAddress(address) {
            let server = maps.servers[id]
            writeWord(id, path: UInt32(row), weight: server.weight, flags: UInt32(server.flags))
        }
        if let old = pathIDs[address] {
            if path == nil { keepOuterIDs(ofPath: old, to: address) }
            pathRows.release(old)
        }
        pathIDs[address] = row == 0 ? nil : row
        paths[address] = path
    }

    /// After many changes in a row all rows may be at rest: then waits until they have rested.
    private func allocatePath() throws(BPFError) -> Int {
        if let row = pathRows.allocate() { return row }
        RowAllocator.waitForGrace()
        if let row = pathRows.allocate() { return row }
        throw BPFError("find room for a path: all \(maps.nextHops.count - 1) are in use", code: ENOSPC)
    }
}
