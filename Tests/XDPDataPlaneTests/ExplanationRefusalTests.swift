import Addresses
import BPF
import Glibc
import LoadBalancing
import TestSupport
import Testing

@testable import XDPDataPlane

/// Directors without an explaining program, or with an explaining program over other tables.
@MainActor
@Suite(.serialized, .needsRoot)
struct ExplanationRefusalTests {
    private static let small = Capacity(connections: 2048)
    private let flow = FlowKey(client: Standard.client, clientPort: 1024, vip: Standard.main, port: 80)

    private var packet: ExplainedPacket {
        get throws { try #require(ExplainedPacket(flow.packet([.syn]).bytes)) }
    }

    @Test("the data plane of a director without the program explains nothing") func anOlderDirectorExplainsNothing()
        throws
    {
        try withPinDirectory { directory in
            let lab = try Lab(directory: directory, capacity: Self.small)
            try lab.plane.publish()
            unlink(XDPDataPlane.explainingPin(directory: directory))
            #expect {
                try XDPDataPlane.decision(on: packet, below: directory)
            } throws: {
                "\($0)".contains("an older director loaded it")
            }
            #expect(lab.plane.missingPins == [ExplainingProgram.name])
            try lab.plane.restorePin(ExplainingProgram.name)
            #expect(try XDPDataPlane.decision(on: packet, below: directory)?.verdict == .ignored)
        }
    }

    @Test("a program over other tables explains nothing") func aProgramOfOtherTablesExplainsNothing() throws {
        try withPinDirectory { directory in
            let first = try Lab(directory: directory, capacity: Self.small)
            let second = try Lab(directory: directory, capacity: Capacity(connections: 1 << 16))
            try #require(first.plane.maps.flows.count < second.plane.maps.flows.count)
            try second.plane.publish()
            #expect(try XDPDataPlane.decision(on: packet, below: directory)?.verdict == .ignored)
            let pin = XDPDataPlane.explainingPin(directory: directory)
            try #require(unlink(pin) == 0)
            try ExplainingProgram.program(of: first.plane.explainingObject.get()).pin(at: pin)
            #expect {
                try XDPDataPlane.decision(on: packet, below: directory)
            } throws: {
                "\($0)".contains("an older director loaded it")
            }
        }
    }

    /// The explaining program's pin is gone then, and every server counts as the possible receiver of a packet.
    @Test("an explaining program that the kernel refuses stops nothing") func aRefusedProgramStopsNothing() throws {
        try withPinDirectory { directory in
            let lab = try Lab(directory: directory, capacity: Self.small)
            let address = ServiceAddress(vip: Standard.main, port: 80, transport: .tcp)
            let service = VirtualService(address: address, scheduler: .rr, servers: [Standard.realServer(1)])
            try lab.apply(Configuration(services: [service], paths: [Standard.path(1)]))
            try lab.plane.publish()
            #expect(try !lab.plane.mayHaveSent(packet, to: Standard.server(1)))
            lab.plane.explainingObject = .failure(BPFError("load BPF object explain", code: EINVAL))
            try lab.plane.publish()
            #expect(access(XDPDataPlane.explainingPin(directory: directory), F_OK) != 0)
            #expect(lab.plane.missingPins.isEmpty)
            #expect(try lab.plane.mayHaveSent(packet, to: Standard.server(1)))
            #expect(throws: BPFError.self) { try lab.plane.decision(on: packet) }
            #expect {
                try XDPDataPlane.decision(on: packet, below: directory)
            } throws: {
                "\($0)".contains("the kernel refused the program that explains")
            }
            #expect(try lab.send(flow.packet([.syn])) == Standard.server(1))
        }
    }

    @Test("the kernel accepts the programs", arguments: [false, true]) func theKernelTakesThePrograms(checks: Bool)
        throws
    {
        silenceLibbpf()
        try XDPDataPlane.tryLoading(checks: checks)
    }
}
