internal import Addresses
internal import BPF
internal import PacketPrograms

/// The numbers that outer packets are identified by, which each path's row gives out: ipvsd_ids.h.
extension XDPDataPlane {
    /// Before packets go by the row: it goes on ahead of where the real server's row before it is now, or was when there
    /// was no way any more; else it begins anywhere.
    func beginOuterIDs(ofPath row: Int, to address: IPv4Address) throws(BPFError) {
        guard let counters = maps.outerIDs, let blocks = maps.idBlocks else { return }
        // Blocks of the row's last holder.
        try blocks.clear(UInt32(row))
        let former = pathIDs[address].map { counters[$0] } ?? outerIDsOfLostPaths[address]
        counters[row] = former.map { $0 &+ IPVSD_ID_LEAD } ?? Self.anyOuterID()
        outerIDsOfLostPaths[address] = nil
    }

    /// There is no way to the real server now.
    func keepOuterIDs(ofPath row: Int, to address: IPv4Address) {
        outerIDsOfLostPaths[address] = maps.outerIDs.map { $0[row] }
    }

    /// A daemon that knew no counters made these rows.
    func beginMissingOuterIDs() {
        guard let counters = maps.outerIDs else { return }
        for row in pathIDs.values where counters[row] == 0 { counters[row] = Self.anyOuterID() }
    }

    /// Directors that start do not all begin with the same ones, nor one that starts anew with its last ones.
    private static func anyOuterID() -> UInt32 { UInt32.random(in: .min ... .max) / IPVSD_ID_BLOCK * IPVSD_ID_BLOCK }
}
