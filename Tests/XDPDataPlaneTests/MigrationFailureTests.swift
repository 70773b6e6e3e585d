import Addresses
import BPF
import CLibBPF
import CLinux
import DataPlane
import Glibc
import Layout3
import LoadBalancing
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// Interrupted and refused migrations. Each runs in a network namespace of its own, on two interfaces.
@MainActor
@Suite(.serialized, .needsRoot)
struct MigrationFailureTests {
    // MARK: Deaths

    @Test("a death after any step leaves a data plane that forwards, and the next start carries it over")
    func killedAfterEachStep() async {
        await #expect(processExitsWith: .success) { try await MainActor.run { try Self().dieAfterEachStep() } }
    }

    private func dieAfterEachStep() throws {
        let interfaces = try makeTwoInterfaces()
        try withMigrationStage(on: interfaces) { stage in
            for step in LayoutMigration.Step.allCases {
                try stage.beginAnew()
                try stage.die(after: step)
                let programs = try stage.attached()
                #expect(stage.version() == (step < .claim ? 3 : 4), "\(step)")
                for program in programs { try stage.flows.expectKept(by: program, "killed after \(step)") }
                // Flows begin and go on while no daemon runs.
                try stage.flows.begin(MigrationLab.mixed(5, from: 100), by: programs[0])
                for program in programs { try stage.flows.expectKept(by: program, "later, killed after \(step)") }
                try stage.expectToStart("killed after \(step)")
            }
        }
    }

    @Test("two deaths in a row, after any step each, leave what one does")
    func killedTwice() async {
        await #expect(processExitsWith: .success) { try await MainActor.run { try Self().dieTwice() } }
    }

    private func dieTwice() throws {
        let interfaces = try makeTwoInterfaces()
        var least = Capacity.roomy
        (least.flowBuckets, least.slotGroups, least.listenerBuckets) = (1024, 1 << 15, 256)
        let steps = LayoutMigration.Step.allCases
        try withMigrationStage(on: interfaces, flows: 3, capacity: least) { stage in
            for (index, first) in steps.enumerated() {
                // Each step is the first death of one run, and the second death of another.
                let second = steps[(index + 3) % steps.count]
                try stage.beginAnew()
                try stage.die(after: first)
                try stage.flows.begin(MigrationLab.mixed(2, from: 100), by: try stage.attached()[1])
                try LayoutMigration.recover(below: stage.directory)
                let comment = "killed after \(first), and after \(second)"
                for program in try stage.attached() { try stage.flows.expectKept(by: program, "settled, \(comment)") }
                try stage.die(after: second)
                for program in try stage.attached() { try stage.flows.expectKept(by: program, comment) }
                try stage.expectToStart(comment)
            }
        }
    }

    /// Steps 5 and 7 change several names and links one after another, so a death may come between two of them.
    @Test("a death between the two interfaces, or between two names, is like one before or after")
    func killedWithinAStep() async {
        await #expect(processExitsWith: .success) { try await MainActor.run { try Self().dieWithinAStep() } }
    }

    private func dieWithinAStep() throws {
        let interfaces = try makeTwoInterfaces()
        try withMigrationStage(on: interfaces) { stage in
            for interface in interfaces {
                try stage.beginAnew()
                try stage.die(after: .claim)
                let program = try #require(try BPFProgram(pinnedAt: "\(stage.directory)/director-4"))
                let pin = XDPDataPlane.linkPin(directory: stage.directory, interface: interface)
                try #require(try BPFLink(pinnedAt: pin)).update(to: program)
                for program in try stage.attached() { try stage.flows.expectKept(by: program, "one of two swapped") }
                // Flows of a second listener begin with the new key here, which the old program does not know.
                try stage.flows.begin(MigrationLab.mixed(5, from: 100), by: program)
                try stage.flows.expectKept(by: program, "begun by the new program of two")
                try stage.expectToStart("one of two swapped")
            }
            let pins = LayoutMigration.pins(below: stage.directory)
            for count in [1, 3, pins.count - 1] {
                try stage.beginAnew()
                try stage.die(after: .catchUp)
                // The packet program's pin is renamed last.
                for pin in (pins.dropFirst() + pins.prefix(1)).prefix(count) where access(pin, F_OK) == 0 {
                    #expect(rename(pin, String(pin.dropLast(2))) == 0, "\(pin)")
                }
                try stage.flows.begin(MigrationLab.mixed(2, from: 100), by: try stage.attached()[0])
                try stage.expectToStart("\(count) names published")
            }
        }
    }

    // MARK: Refusals

    @Test("where one of two interfaces refuses, the other goes back, with the flows that the new program began")
    func oneInterfaceRefuses() async {
        await #expect(processExitsWith: .success) { try await MainActor.run { try Self().refuseByOneInterface() } }
    }

    private func refuseByOneInterface() throws {
        let interfaces = try makeTwoInterfaces()
        try withMigrationStage(on: [interfaces[0]], flows: 40) { stage in
            let used = try stage.attached()[0].id()
            // A program of another attach type cannot be replaced by ipvsd's.
            let refusing = try BPFLink.ofPassingProgram(interface: interfaces[1])
            let pin = XDPDataPlane.linkPin(directory: stage.directory, interface: interfaces[1])
            try refusing.pin(at: pin)
            defer { unlink(pin) }
            do {
                let migration = try #require(try stage.migration())
                try migration.run(through: .claim)
                try stage.flows.begin(MigrationLab.mixed(20, from: 100), by: migration.program())
                #expect(throws: BPFError.self) { try migration.run() }
            }
            #expect(stage.version() == 3)
            #expect(!stage.old.lab.plane.maps.isMigrating)
            #expect(stage.waiting.isEmpty, "\(stage.waiting)")
            #expect(try stage.attached()[0].id() == used)
            try stage.flows.expectKept(by: stage.old.plane.program(), "back at layout 3")
            #expect(stage.old.lab.loads() == stage.old.lab.recount())
            #expect(stage.old.flowStates().count == stage.flows.homes.count)
            #expect(throws: BPFError.self) { try Lab(directory: stage.directory) }
            try stage.flows.expectKept(by: stage.old.plane.program(), "back at layout 3 once more")
            try refusing.detach()
            unlink(pin)
            try stage.expectToStart("no interface refuses any more")
        }
    }

    /// The pin of the old program is missing, so that the links stay as they are when the migration is undone.
    @Test("before an interface goes back, the program of layout 3 finds the flows that the new one began")
    func flowsGoBackBeforeTheLinks() async {
        await #expect(processExitsWith: .success) { try await MainActor.run { try Self().failToGoBack() } }
    }

    private func failToGoBack() throws {
        let interfaces = try makeTwoInterfaces()
        try withMigrationStage(on: [interfaces[0]]) { stage in
            let refusing = try BPFLink.ofPassingProgram(interface: interfaces[1])
            let pin = XDPDataPlane.linkPin(directory: stage.directory, interface: interfaces[1])
            try refusing.pin(at: pin)
            defer { unlink(pin) }
            let published = XDPDataPlane.programPin(directory: stage.directory)
            do {
                let migration = try #require(try stage.migration())
                try migration.run(through: .claim)
                try stage.flows.begin(MigrationLab.mixed(20, from: 100), by: migration.program())
                try #require(rename(published, "\(published)-away") == 0)
                #expect(throws: BPFError.self) { try migration.run() }
                // This interface still has the new program.
                #expect(try stage.attached()[0].id() == migration.program().id())
            }
            for program in [try stage.old.plane.program(), try stage.attached()[0]] {
                try stage.flows.expectKept(by: program, "the flows have their former keys")
            }
            try #require(rename("\(published)-away", published) == 0)
            try refusing.detach()
            unlink(pin)
            try stage.expectToStart("no interface refuses any more")
        }
    }

    @Test("a start with too few descriptors leaves the plane of layout 3 as it was")
    func fewDescriptors() async {
        await #expect(processExitsWith: .success) { try await MainActor.run { try Self().migrateWithFewDescriptors() } }
    }

    private func migrateWithFewDescriptors() throws {
        let interfaces = try makeTwoInterfaces()
        try withMigrationStage(on: interfaces) { stage in
            let lowest = dup(0)
            close(lowest)
            var limits = rlimit()
            try #require(getrlimit(__rlimit_resource_t(__RLIMIT_OFILE.rawValue), &limits) == 0)
            func limit(_ descriptors: rlim_t) throws {
                var few = limits
                few.rlim_cur = descriptors
                try #require(setrlimit(__rlimit_resource_t(__RLIMIT_OFILE.rawValue), &few) == 0)
            }
            let programs = try stage.attached().map { try $0.id() }
            var failures: [String] = []
            var isDone = false
            for spare in 5..<300 as Range<rlim_t> where !isDone {
                try limit(rlim_t(lowest) + spare)
                do {
                    try stage.die(after: .finish)
                    isDone = true
                } catch let error as BPFError { failures.append(error.operation) }
                try limit(limits.rlim_cur)
                guard !isDone else { break }
                // Either the data plane is the former one, or the migration is complete.
                try LayoutMigration.recover(below: stage.directory)
                if stage.version() == 3 {
                    #expect(stage.waiting.isEmpty, "\(failures.last ?? ""): \(stage.waiting)")
                    #expect(try stage.attached().map { try $0.id() } == programs, "\(failures.last ?? "")")
                }
                for program in try stage.attached() {
                    try stage.flows.expectKept(by: program, "\(failures.last ?? "")")
                }
            }
            #expect(isDone, "\(failures)")
            #expect(failures.count > 3, "\(failures)")
            try stage.expectToStart("with enough descriptors")
        }
    }

    // MARK: Others that look at it

    /// The daemon of layout 3 reads the first word of the pin `settings`, and adopts a data plane if the word is 3.
    /// Before that, it finishes or removes pins whose names end in -next.
    @Test(
        "an older daemon takes the plane over until it is claimed, and refuses it from then on with forwarding untouched"
    )
    func anOlderDaemonRefusesFromTheClaimOn() async {
        await #expect(processExitsWith: .success) { try await MainActor.run { try Self().startAnOlderDaemon() } }
    }

    private func startAnOlderDaemon() throws {
        let interfaces = try makeTwoInterfaces()
        try withMigrationStage(on: interfaces) { stage in
            let migration = try #require(try stage.migration())
            for step in LayoutMigration.Step.allCases {
                // Nothing is undone when a migration ends, so a daemon that dies here leaves the same state.
                try migration.run(through: step)
                let pins = try #require(XDPDataPlane.everyPin(below: stage.directory))
                #expect(!pins.contains { $0.hasSuffix("-next") }, "\(step): \(pins)")
                let settings: BPFMap<UInt32, ipvsd_settings> = try #require(
                    try BPFMap(name: "settings", pinnedAt: "\(stage.directory)/settings"))
                let version = try #require(try settings.value(for: 0)).abi_version
                #expect(version == (step < .claim ? 3 : 4), "\(step)")
                if step < .claim {
                    let missing = Set(Layout3Plane.sharedMaps + Layout3Plane.ownMaps + ["director", "tick"])
                        .subtracting(pins)
                    #expect(missing.isEmpty, "\(step)")
                    #expect(
                        try stage.attached().allSatisfy { try $0.id() == stage.old.plane.program().id() }, "\(step)")
                }
            }
        }
    }

    @Test("today's daemon refuses the next layout, and leaves the programs on the interfaces")
    func theNextLayoutIsRefused() async {
        await #expect(processExitsWith: .success) { try await MainActor.run { try Self().meetTheNextLayout() } }
    }

    private func meetTheNextLayout() throws {
        let interfaces = try makeTwoInterfaces()
        try withMigrationStage(on: interfaces) { stage in
            try stage.expectToStart("first")
            let (pins, programs) = (
                XDPDataPlane.everyPin(below: stage.directory), try stage.attached().map { try $0.id() }
            )
            let version = stage.old.lab.plane.maps.settings.pointer(0)
            version.storeBytes(of: UInt32(IPVSD_ABI_VERSION) + 1, as: UInt32.self)
            let error = #expect(throws: BPFError.self) { try Lab(directory: stage.directory) }
            #expect(error?.code == EPROTO)
            #expect(XDPDataPlane.everyPin(below: stage.directory) == pins)
            #expect(try stage.attached().map { try $0.id() } == programs)
            for program in try stage.attached() { try stage.flows.expectKept(by: program) }
            version.storeBytes(of: UInt32(IPVSD_ABI_VERSION), as: UInt32.self)
        }
    }

    @Test("flows are listed and packets are explained at every step")
    func explainAndFlowsAtEachStep() async {
        await #expect(processExitsWith: .success) { try await MainActor.run { try Self().lookAtEachStep() } }
    }

    private func lookAtEachStep() throws {
        let interfaces = try makeTwoInterfaces()
        try withMigrationStage(on: interfaces, flows: 30) { stage in
            let migration = try #require(try stage.migration())
            for step in LayoutMigration.Step.allCases {
                try migration.run(through: step)
                let scan = try #require(try FlowScan(directory: stage.directory), "\(step)")
                var listed: [FlowKey: IPv4Address] = [:]
                scan.forEach { flow in
                    let key = FlowKey(
                        client: flow.client.ipv4, clientPort: flow.clientPort, vip: flow.vip.ipv4, port: flow.port,
                        transport: flow.transport)
                    #expect(listed[key] == nil, "\(step): \(key) is listed twice")
                    listed[key] = flow.server.ipv4
                }
                #expect(
                    listed == Dictionary(uniqueKeysWithValues: stage.flows.homes.map { ($0.flow, $0.server) }),
                    "\(step)")
                // Programs of layout 3 do not explain themselves.
                guard step >= .swap else { continue }
                for (flow, server) in stage.flows.homes {
                    let frame = flow.packet([.ack], payload: 10).bytes
                    let packet = try #require(ExplainedPacket(frame))
                    let decision = try XDPDataPlane.decision(on: packet, below: stage.directory)
                    #expect(decision?.server == server, "\(step): \(flow)")
                }
            }
        }
    }
}

extension XDPDataPlane {
    /// Returns the names in the directory, sorted, or nil if it cannot be read.
    fileprivate static func everyPin(below directory: String) -> [String]? {
        guard let stream = opendir(directory) else { return nil }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }
}

extension BPFLink {
    /// Attaches a program that passes every packet, loaded without an attach type.
    fileprivate static func ofPassingProgram(interface: Int32) throws -> BPFLink {
        // r0 = XDP_PASS; exit
        let code: [UInt64] = [0x0000_0002_0000_00B7, 0x0000_0000_0000_0095]
        let number = code.withUnsafeBytes { raw in
            bpf_prog_load(
                BPF_PROG_TYPE_XDP, "pass", "GPL", raw.assumingMemoryBound(to: bpf_insn.self).baseAddress, code.count,
                nil)
        }
        try #require(number >= 0)
        defer { close(number) }
        let path = "/sys/fs/bpf/ipvsd-pass-\(getpid())"
        try #require(bpf_obj_pin(number, path) == 0)
        defer { unlink(path) }
        return try #require(try BPFProgram(pinnedAt: path)).attachXDP(interface: interface, mode: .native)
    }
}
