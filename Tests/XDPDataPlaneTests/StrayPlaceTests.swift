import Addresses
import BPF
import DataPlane
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

@MainActor
@Suite(.serialized, .needsRoot)
struct StrayPlaceTests {
    /// Returns the places of `count` VIPs on one interface.
    private func places(_ count: Int, on interface: Int32 = 7, silent: Bool = true) -> [StrayPlace: Bool] {
        let vips = (0..<UInt32(count)).map { IPAddress(0x0A00_0000 + $0) }
        return Dictionary(uniqueKeysWithValues: vips.map { (StrayPlace(interface: interface, vip: $0), silent) })
    }

    private func present(_ lab: Lab) throws -> [Int32: Int] {
        let strays = try #require(lab.plane.maps.strays)
        return try strays.entries().reduce(into: [:]) { $0[Int32($1.key.ifindex), default: 0] += 1 }
    }

    @Test("places without room do not keep others out") func whatThereIsNoRoomForKeepsNothingElseOut() throws {
        let lab = try Lab(Standard.configuration)
        let most = XDPDataPlane.maximumStrayPlaces
        #expect(try lab.plane.setStrayPlaces(places(most)) == 0)
        #expect(try lab.plane.setStrayPlaces(places(most + 9)) == 9)
        #expect(try present(lab) == [7: most])
        // Present places keep their rows, and free rows are used.
        let mixed = places(most - 1).merging(places(3, on: 8, silent: false)) { $1 }
        #expect(try lab.plane.setStrayPlaces(mixed) == 2)
        #expect(try present(lab) == [7: most - 1, 8: 1])
        // Silent places come first.
        #expect(try lab.plane.setStrayPlaces([:]) == 0)
        let others = places(most, on: 6, silent: false).merging(places(5, on: 9)) { $1 }
        #expect(try lab.plane.setStrayPlaces(others) == 5)
        #expect(try present(lab) == [6: most - 5, 9: 5])
    }
}
