import FoundationEssentials
import HealthChecks
import Testing

@testable import Control
@testable import Director
@testable import Doctor
@testable import TunnelSetup
@testable import ipvsd

/// The fields of every JSON output, of the API's bodies, and of the files that outlive the program.
struct JSONTests {
    private func encode(_ value: some Encodable) throws -> [UInt8] { Array(try JSONEncoder().encode(value)) }

    @Test("the fields of JSON are as recorded")
    func fields() throws {
        let status = try Sample.status()
        let event = try Sample.event()
        let drain = try Sample.drainReport()
        let request = Sample.drainRequest()
        let explanation = try Sample.explanation()
        let tunnels = try Sample.tunnels()
        for value in [status.filled, event.filled, drain.filled, request.filled, explanation.filled] as [Any] {
            #expect(JSONShape.unfilled(value, at: "\(type(of: value))") == [])
        }
        let ofStatus = JSONShape(dictionaries: ["status.reasons", "status.events", "status.xdp.transmitErrors"])
        var lines = try ofStatus.lines("status", try status.all.map { try $0.json() })
        lines += try JSONShape().lines("connections[]", [Array(Connections.json(try Sample.flow()).utf8)])
        lines += try JSONShape().lines("connections --count", [Array(Connections.json(count: 1).utf8)])
        lines += try JSONShape().lines("events", try event.all.map { try $0.json() })
        lines += try JSONShape().lines("events (missed)", [Array(Events.json(.missed(1)).utf8)])
        lines += try JSONShape().lines("drain", try drain.all.map { Array(try $0.json().utf8) })
        let ofExplanation = JSONShape(dictionaries: ["explain.xdp.transmitErrors"])
        lines += try ofExplanation.lines("explain", try explanation.all.map { try $0.json() })
        lines += try JSONShape().lines("doctor", [Array(try reports().json(repaired: ["step"]).utf8)])
        let listed = try tunnels.all.map { Array(try [$0].json().utf8) }
        lines += try JSONShape().lines("tunnel show", listed)
        lines += try JSONShape().lines("POST /drain", try request.all.map(encode))
        lines += try JSONShape().lines("refusal", [encode(DirectorError(.tooFew, "refused"))])
        lines += try JSONShape().lines("POST /reload (refusal)", [encode(ReloadRefusal(code: 64, message: "refused"))])
        lines += try JSONShape().lines("overrides.json", [try storedOverrides()])
        try Snapshot.expect(lines, in: "json.txt")
    }

    private func reports() -> [Report] {
        let finding = Finding(.tunnelDown, "tunl0 is down", fix: "ip link set tunl0 up", repair: .setUp)
        return [Report(side: .realServer, findings: [finding], unchecked: ["a firewall"])]
    }

    /// Returns the bytes of a file of overrides.
    private func storedOverrides() throws -> [UInt8] {
        let path =
            FileManager.default.temporaryDirectory.path()
            + "/ipvsd-overrides-\(ProcessInfo.processInfo.processIdentifier)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try OverridesFile(path: path).write(try Sample.overrides())
        return Array(try Data(contentsOf: URL(filePath: path)))
    }
}
