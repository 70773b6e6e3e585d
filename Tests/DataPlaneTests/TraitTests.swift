import BPF
import LoadBalancing
import Netlink
import PacketPrograms
import Testing

@testable import DataPlane

/// What the packet program does differently when it is told so at its load.
@MainActor
@Suite(.serialized, .enabled("needs root") { canLoadPrograms })
struct TraitTests {
    /// XDP_TX leaves where the packet came in, which need not be the real server's side.
    @Test func severalIngressInterfaces() throws {
        let lab = try Lab(Standard.configuration, traits: PacketTraits(hasSeveralIngress: true))
        let frame = PacketBuilder.syn(to: Standard.transmitting).bytes
        // The standard path leaves by lo, 1; without a context a test run comes in there, too.
        #expect(try lab.run(frame).verdict == .transmit)
        #expect(try lab.run(frame, ingress: 1).verdict == Verdict.transmit.rawValue)
        let row = try #require(lab.plane.pathIDs[Standard.server(7)])
        lab.plane.maps.paths[row].ifindex = 4711
        #expect(try lab.run(frame, ingress: 1).verdict != Verdict.transmit.rawValue)
    }

    @Test func framesOfOtherHosts() throws {
        let lab = try Lab(Standard.configuration)
        let macs = (1...8 as ClosedRange<UInt8>).map { mac($0, 9) }
        lab.plane.setOwnMACs(macs)
        for destination in macs {
            let packet = PacketBuilder.ethernet(to: destination).fromClient(to: Standard.main).tcp([.syn])
            #expect(try lab.run(packet).verdict == .redirect)
            // By the way of established connections, too.
            let flow = FlowKey(client: Standard.client, clientPort: 5000, vip: Standard.main, port: 80)
            for flags in [[.syn], [.ack], [.ack]] as [PacketBuilder.TCPFlags] {
                #expect(try lab.run(flow.packet(flags, to: destination)).verdict == .redirect)
            }
        }
        let others =
            [mac(9, 9), mac(1, 8), broadcast, .zero] + macs.map { MACAddress([3] + $0.bytes.dropFirst()) ?? .zero }
        lab.plane.setOwnMACs(Array(macs.prefix(7)) + [mac(10, 9)])
        for destination in others + [macs[7]] { try expectPassed(destination, by: lab) }
        // Places that are left over are nobody's.
        lab.plane.setOwnMACs([macs[0]])
        for destination in [.zero, macs[1]] { try expectPassed(destination, by: lab) }
    }

    private func expectPassed(_ destination: MACAddress, by lab: Lab) throws {
        let packet = PacketBuilder.ethernet(to: destination).fromClient(to: Standard.main).tcp([.syn])
        let outcome = try lab.run(packet)
        #expect(outcome.verdict == .pass && outcome.moved.isEmpty && outcome.packet == packet.bytes)
    }

    /// Where no daemon follows a change of the MAC.
    @Test func framesOfAnyHostWithoutDaemon() throws {
        let lab = try Lab(Standard.configuration)
        func verdict(to destination: MACAddress) throws -> Verdict? {
            try lab.run(PacketBuilder.ethernet(to: destination).fromClient(to: Standard.main).tcp([.syn])).verdict
        }
        for age in [0, UInt32(IPVSD_ABSENT_TICKS) - 5] {
            lab.plane.maps.pressure[0].swept = try lab.plane.tick() - age
            #expect(try verdict(to: mac(9)) == .pass)
        }
        lab.plane.maps.pressure[0].swept = try lab.plane.tick() - UInt32(IPVSD_ABSENT_TICKS)
        #expect(try verdict(to: mac(9)) == .redirect)
        #expect(try verdict(to: broadcast) == .pass)
    }

    @Test(arguments: [8, 16, 24])
    func outerSourceByFlow(length: Int) throws {
        let prefix = try #require(IPv4Prefix(address("172.0.0.0"), length: length))
        let lab = try Lab(Standard.configuration, traits: PacketTraits(outerSources: prefix))
        var sources: Set<IPv4Address> = []
        for port in 1...1000 as ClosedRange<UInt16> {
            let flow = FlowKey(client: Standard.client, clientPort: port, vip: Standard.main, port: 80)
            var first: IPv4Address?
            for packet in [flow.packet([.syn]), flow.packet([.ack], payload: 100)] {
                let frame = packet.bytes
                let outcome = try lab.run(frame)
                let source = IPv4Address(word32(outcome.packet, 26))
                #expect(prefix.contains(source))
                #expect(source == first ?? source)
                first = source
                sources.insert(source)
                var path = Standard.web
                path.source = source
                #expect(outcome.packet == NaiveEncapsulator.encapsulate(frame, path: path, id: 0))
            }
        }
        // 1,000 balls into 256 bins leave 5 empty on average, and hardly ever 20.
        #expect(sources.count > min(236, 950))
        if length < 24 { #expect(sources.count > 950) }
    }
}
