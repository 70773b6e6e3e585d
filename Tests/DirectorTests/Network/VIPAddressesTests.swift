import Addresses
import DataPlane
import Foundation
import LoadBalancing
import Logging
import Netlink
import ServiceConfiguration
import Testing

@testable import Director
@testable import HostState

/// The VIPs on interfaces: their placement, repair and announcement.
struct VIPAddressesTests {
    private let network = MemoryNetwork()
    private let plane: MemoryDataPlane
    private let journal: ChangeJournal
    private let addresses: VIPAddresses
    private let first = IPAddress(0x0A00_0064)
    private let second = IPAddress(0x0A00_0065)

    init() throws {
        plane = MemoryDataPlane(network: network, clock: ManualClock())
        journal = try ChangeJournal(path: NSTemporaryDirectory() + "/vips-\(UUID().uuidString)/journal")
        addresses = VIPAddresses(network: network)
    }

    private func configuration(managesAddress: Bool = true) -> DirectorConfiguration {
        DirectorConfiguration(
            services: [first, second].map { vip in
                ConfiguredService(
                    VirtualService(
                        address: ServiceAddress(vip: vip, port: 80, transport: .tcp), scheduler: .wlc,
                        servers: DirectorLab.servers.map { RealServer(address: $0) }))
            }, managesAddress: managesAddress)
    }

    private func place() throws -> VIPAddresses.Placement {
        try addresses.place(for: configuration(), on: plane, links: network.links(), journal: journal)
    }

    private var present: Set<IPAddress> {
        Set(network.addresses().map(\.address)).intersection(configuration().vips)
    }

    @Test("missing VIPs are put on an interface, and the journal has them alone")
    func placement() throws {
        try network.addAddress(first, on: MemoryNetwork.link.index, scope: 0)
        let placement = try place()
        #expect(placement.failure == nil)
        #expect(!placement.hasOtherSources)
        #expect(present == [first, second])
        #expect(journal.changes.map(\.description) == ["address \(second)/32 on lab0"])
        #expect(try place().failure == nil)
        #expect(journal.changes.count == 1)
    }

    @Test("a VIP that is refused keeps no other from its place, and is tried again")
    func refusedVIP() throws {
        network.refuseAddresses([first])
        #expect(try place().failure is MemoryNetwork.Refusal)
        #expect(present == [second])
        let refused = try addresses.restore(for: configuration(), on: plane, journal: journal)
        #expect(refused.restored.isEmpty)
        #expect(refused.failed.map(\.resource.description) == ["address \(first)/32 on lab0"])
        network.refuseAddresses([])
        let restored = try addresses.restore(for: configuration(), on: plane, journal: journal)
        #expect(restored.restored.map(\.vip) == [first])
        #expect(restored.failed.isEmpty)
        #expect(present == [first, second])
    }

    @Test("a VIP that another holder takes away is not put back, the director's own is")
    func restoration() throws {
        try network.addAddress(first, on: MemoryNetwork.link.index, scope: 0)
        #expect(try place().failure == nil)
        for vip in [first, second] { network.removeAddress(vip, from: MemoryNetwork.link.index) }
        network.rename("wan0")
        try journal.follow(network.links())
        let repairs = try addresses.restore(for: configuration(), on: plane, journal: journal)
        #expect(repairs.restored.map(\.resource.description) == ["address \(second)/32 on wan0"])
        #expect(present == [second])
        #expect(try addresses.restore(for: configuration(), on: plane, journal: journal).restored.isEmpty)
        network.removeAddress(second, from: MemoryNetwork.link.index)
        let unmanaged = configuration(managesAddress: false)
        #expect(try addresses.restore(for: unmanaged, on: plane, journal: journal).restored.isEmpty)
    }

    @Test("the first VIP without gratuitous ARP is logged")
    func announcements() {
        #expect(addresses.announce(for: configuration(), on: network.links()).lines.isEmpty)
        #expect(network.takeAnnounced() == [first, second])
        network.limitAnnouncements(to: 0)
        let findings = addresses.announce(for: configuration(), on: network.links())
        #expect(findings.lines.map(\.text) == ["announce \(first) and 1 more on lab0: no buffer space"])
        #expect(findings.lines.map(\.level) == [.warning])
        #expect(
            findings.lines.map(\.metadata) == [
                ["address": "\(first)", "interface": "lab0", "error": "no buffer space"]
            ])
        let unmanaged = configuration(managesAddress: false)
        #expect(addresses.announce(for: unmanaged, on: network.links()).lines.isEmpty)
    }
}
