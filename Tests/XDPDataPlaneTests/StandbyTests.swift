import Addresses
import DataPlane
import LoadBalancing
import Testing

@testable import XDPDataPlane

/// The recognition of the former daemon's sorry server by its rows.
struct StandbyTests {
    private enum Row {
        case listed, down, standby, removed

        var effective: EffectiveWeight {
            switch self {
            case .listed: .listed(weight: 1)
            case .down: .down
            case .standby, .removed: .standby
            }
        }
    }

    /// Whether the server of the last row counts as spared.
    private func spared(_ rows: Row...) -> Bool {
        let servers = rows.enumerated().map { index, row in
            DataPlaneSnapshot.Server(
                id: UInt32(index), configured: RealServer(address: IPv4Address(0x0A00_000B + UInt32(index))),
                effective: row.effective, isRemoved: row == .removed, isOverloaded: false, active: 0, inactive: 0,
                connections: 0, packets: 0, bytes: 0, hasNextHop: true, isLocal: false)
        }
        let service = ServiceAddress(vip: IPv4Address(0x0A00_0064), port: 80, transport: .tcp)
        return DataPlaneSnapshot.Service(
            index: 0, configured: VirtualService(address: service, scheduler: .rr, servers: []), servers: servers
        ).spared(IPAddress(0x0A00_000B + UInt32(rows.count - 1)))
    }

    @Test("a server in standby beside serving ones was a sorry server") func aSorryServerStoodByWhereOthersServed() {
        #expect(spared(.listed, .listed, .standby))
        #expect(spared(.down, .listed, .standby))
        #expect(!spared(.standby, .down, .listed), "it served")
    }

    @Test("only a sorry server in standby counts as spared") func otherRowsOfItsAddressSayNothing() {
        #expect(!spared(.listed, .listed, .listed), "a real server")
        #expect(!spared(.listed, .listed, .down), "a real server")
        #expect(!spared(.listed, .listed, .removed), "of an older configuration")
        #expect(!spared(.listed, .standby, .standby), "a real server whose place another sorry server had")
        #expect(!spared(.standby), "alone")
        #expect(!spared(.removed, .down, .standby), "nobody served")
    }
}
