import DataPlane
import LoadBalancing
import Netlink
import PacketPrograms
import Testing

@testable import XDPDataPlane

/// The conversion of paths to rows, and back, as the next daemon reads them.
struct PathTests {
    private static let paths: [Path] = [
        Standard.web, Standard.viaTransmit, Standard.viaTag, Standard.viaTwoTags, Standard.viaTagTransmit,
        Standard.viaStack, Standard.path(5) { $0.nextHopMAC = nil },
        Standard.path(6) { ($0.interface, $0.routeInterface, $0.mtu) = (4, 9, 9000) },
    ]

    @Test("a row gives back its path", arguments: paths) func readsBackTheSame(_ path: Path) {
        #expect(Path(row: path.row).map { $0.nextHopMAC == path.nextHopMAC && $0 == path } == true)
    }

    /// The tag 802.1ad 7 comes before the tag 802.1Q 4094 on the wire.
    @Test("tags are in wire order") func tagsInWireOrder() {
        let row = Standard.viaTwoTags.row
        #expect(withUnsafeBytes(of: row.tags) { Array($0) } == [0x88, 0xA8, 0, 7, 0x81, 0, 0x0F, 0xFE])
        #expect(row.tag_length == 8)
        #expect(withUnsafeBytes(of: Standard.viaTag.row.tags) { Array($0) } == [0x81, 0, 0, 100, 0, 0, 0, 0])
    }
}
