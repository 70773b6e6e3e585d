import BPF
import CLinux
import Glibc
import Layout3
import Netlink
import PacketPrograms
import Testing

@testable import XDPDataPlane

/// Makes two interfaces in a network namespace of this process's own. Returns their indices.
func makeTwoInterfaces() throws -> [Int32] {
    try #require(clinux_unshare_network() == 0)
    let socket = try RouteSocket()
    return try ["one", "two"].map { name in
        try socket.createVeth(name: name, peer: "\(name)-peer")
        return try #require(try socket.link(named: name)).index
    }
}

/// A data plane of layout 3 on interfaces, with flows.
@MainActor
struct MigrationStage {
    let old: Layout3Lab
    let interfaces: [Int32]
    /// The number of flows of each kind in `MigrationLab.mixed` that a stage begins with.
    let flowCount: Int
    var flows = HomedFlows()

    var directory: String { old.directory }

    init(_ old: Layout3Lab, interfaces: [Int32], flowCount: Int) throws {
        (self.old, self.interfaces, self.flowCount) = (old, interfaces, flowCount)
        try flows.begin(MigrationLab.mixed(flowCount), by: old.plane.program())
    }

    /// Goes back to layout 3, with flows that begin anew. Loads no program, as the verifier takes most of a test's
    /// time.
    mutating func beginAnew() throws {
        try old.plane.replaceAgain()
        flows = HomedFlows()
        try flows.begin(MigrationLab.mixed(flowCount), by: old.plane.program())
    }

    /// Returns the programs on the interfaces.
    func attached() throws -> [BPFProgram] {
        try interfaces.map { interface in
            let pin = XDPDataPlane.linkPin(directory: directory, interface: interface)
            let link = try #require(try BPFLink(pinnedAt: pin))
            return try #require(try BPFProgram(id: link.programID()))
        }
    }

    func version() -> UInt32 {
        old.lab.plane.maps.settings.pointer(0).load(as: UInt32.self)
    }

    func migration() throws -> LayoutMigration? {
        try LayoutMigration(below: directory, constants: MigrationLab.constants)
    }

    /// Runs the migration up to and including this step, and leaves it there, as a daemon that dies does.
    func die(after step: LayoutMigration.Step) throws {
        try migration()?.run(through: step)
    }

    /// Expects that a start carries everything over, and leaves nothing of the migration behind.
    func expectToStart(_ comment: String) throws {
        let new = try Lab(directory: directory)
        for interface in interfaces { try new.plane.attach(interface: interface, mode: .native) }
        try new.plane.publish()
        #expect(version() == UInt32(IPVSD_ABI_VERSION), "\(comment)")
        #expect(waiting.isEmpty, "\(comment): \(waiting)")
        #expect(!new.plane.maps.isMigrating, "\(comment)")
        for program in try attached() { try flows.expectKept(by: program, "\(comment), after the start") }
        let recount = new.recount()
        #expect(new.loads() == recount, "\(comment)")
        #expect(recount.values.reduce(0) { $0 + $1.active + $1.inactive } == flows.homes.count, "\(comment)")
        #expect(new.plane.missingPins.isEmpty, "\(comment)")
    }

    /// The present pins that only a migration makes.
    var waiting: [String] { LayoutMigration.pins(below: directory).filter { access($0, F_OK) == 0 } }
}

/// Runs `body` on a stage, in a pin directory of its own.
@MainActor
func withMigrationStage(
    on interfaces: [Int32], flows count: Int = 12, capacity: Capacity = .roomy,
    _ body: (inout MigrationStage) throws -> Void
) throws {
    try withPinDirectory { directory in
        defer {
            // A test that does not end with a start leaves these pins. After `expectToStart` there are none.
            for pin in LayoutMigration.pins(below: directory) { unlink(pin) }
            for interface in interfaces {
                let pin = XDPDataPlane.linkPin(directory: directory, interface: interface)
                try? BPFLink(pinnedAt: pin)?.detach()
                unlink(pin)
            }
        }
        let old = try Layout3Lab(
            directory: directory, capacity: capacity, MigrationLab.configuration, attached: interfaces)
        var stage = try MigrationStage(old, interfaces: interfaces, flowCount: count)
        try body(&stage)
    }
}
