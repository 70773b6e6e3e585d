import Addresses
import BPF
import Capture
import ConfigurationImport
import DataPlane
import Doctor
import LoadBalancing
import RealServerSetup
import ServiceConfiguration
import Testing
import XDPDataPlane

@testable import Director
@testable import HealthChecks

/// Names that are values: of events, reasons, faults, states, checks and variables.
struct NameTests {
    @Test("the names that are values are as recorded")
    func names() throws {
        let counters = Dictionary(grouping: PacketCounter.all, by: \.group)
        var lines: [String] = []
        func add(_ kind: String, _ names: some Sequence<String>) { lines += names.map { "\(kind): \($0)" } }
        func add<Name: CaseIterable & RawRepresentable<String>>(_ kind: String, _ type: Name.Type) {
            add(kind, type.allCases.map(\.rawValue))
        }
        add("event", DirectorEvent.Kind.self)
        add("variable of a notify program", try Sample.event().filled.environment(isStart: true).keys.sorted())
        add("variable of a check's script", try scriptVariables())
        add("packet counter", [PacketCounter.Group.received, .forwarded].flatMap { counters[$0] ?? [] }.map(\.name))
        add(
            "reason of a packet",
            [PacketCounter.Group.passed, .answered, .dropped].flatMap { counters[$0] ?? [] }.map(\.name))
        add("event of a packet", (counters[.event] ?? []).map(\.name))
        add("fault", Fault.self)
        add("side of a fault", Report.Side.self)
        add("health", DirectorStatus.Server.Health.self)
        add("XDP mode", XDPMode.self)
        add("refusal", DirectorError.Kind.self)
        add("connection state", Flow.State.self)
        add("explain, verdict", PacketDecision.Verdict.self)
        add("explain, packet", ExplainedPacket.Segment.self)
        add("explain, fate", PacketDecision.Connection.Fate.self)
        add("explain, real server of a connection", PacketDecision.Connection.ServerStanding.self)
        add("explain, template", PacketDecision.Template.Standing.self)
        add("explain, occasion", PacketDecision.Choice.Occasion.self)
        add("explain, forgetting", PacketDecision.Forgetting.self)
        add("explain, recording", PacketDecision.Recording.self)
        add("explain, method", ServerChoice.Method.self)
        add("direction of a capture", CaptureFilter.Direction.self)
        add("format of an import", Import.Format.self)
        add("persistence by", HostManager.self)
        add("protocol", TransportProtocol.self)
        add("scheduler", Scheduler.self)
        add("scheduler flag", SchedulerFlag.self)
        add("server loss", ServerLoss.self)
        add("server removal", ServerRemoval.self)
        add("stage of a check", CheckStage.self)
        try Snapshot.expect(lines, in: "names.txt")
    }

    private func scriptVariables() throws -> [String] {
        let address = try Sample.address("10.0.0.100")
        let way = Check.Way.tunnel(vip: address, mark: 1, device: 1, source: address)
        let check = try ScriptCheck(arguments: ["/bin/true"], environment: [:])
        return ScriptEnvironment.variables(check, by: way, timeout: .seconds(1)).keys.sorted()
    }

    @Test("the names of checks are as recorded")
    func namesOfChecks() throws {
        let configuration = try ConfigurationFile.parse(try Snapshot.fixture("every-key.yaml"), file: "every-key.yaml")
        let service = try #require(configuration.services.first).address
        guard case .listed(let checks) = configuration[service]?.checks else {
            Issue.record("the first service of every-key.yaml lists no checks")
            return
        }
        try Snapshot.expect(Set(checks.map { "\($0.check)" }).sorted(), in: "check-names.txt")
    }
}
