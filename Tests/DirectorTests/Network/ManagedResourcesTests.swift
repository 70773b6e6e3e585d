import Addresses
import DataPlane
import LoadBalancing
import ServiceConfiguration
import Testing

@testable import Director

/// The log lines and events of repairs, and the failed checks that they excuse.
struct ManagedResourcesTests {
    private static let web = ServiceAddress(vip: IPAddress(0x0A00_0064), port: 80, transport: .tcp)
    private static let mail = ServiceAddress(vip: IPAddress(0x0A00_0065), port: 25, transport: .tcp)

    private let services = [web, mail].map { address in
        ConfiguredService(VirtualService(address: address, scheduler: .wlc, servers: []))
    }
    private let device = ManagedResource("device ipvsd0")
    private let sysctl = ManagedResource("sysctl net.ipv4.conf.ipvsd0.forwarding")
    private let start = ContinuousClock.now

    private struct Refusal: Error, CustomStringConvertible { let description: String }

    private func at(_ seconds: Int) -> ContinuousClock.Instant { start + .seconds(seconds) }

    private func repairs(_ restored: [ManagedResource], disturbedChecks: Bool = false) -> Repairs {
        var repairs = Repairs()
        repairs.restored = restored
        repairs.disturbedChecks = disturbedChecks
        return repairs
    }

    private func lines(_ findings: NetworkFindings) -> [String] { findings.lines.map { "\($0.level) \($0.text)" } }

    private func events(_ findings: NetworkFindings) -> [String] {
        findings.restored.map { "\($0.service): \($0.reason)" }
    }

    @Test("a resource that is removed again and again has two events, and is news after ten quiet minutes")
    func contested() {
        var resources = ManagedResources(at: start)
        let first = resources.note(repairs([device]), of: services, at: at(0))
        #expect(lines(first) == ["warning restored \(device)"])
        #expect(events(first) == ["\(Self.web): \(device)", "\(Self.mail): \(device)"])
        let second = resources.note(repairs([device, sysctl]), of: services, at: at(3))
        let end = "something else keeps it from staying; it is put back each time, without another line"
        let again = "\(device) again, 3s after the last time: \(end)"
        #expect(lines(second) == ["warning restored \(again)", "warning restored \(sysctl)"])
        #expect(events(second) == [Self.web, Self.mail].map { "\($0): \(again), \(sysctl)" })
        for second in [6, 9, 600] {
            let findings = resources.note(repairs([device]), of: services, at: at(second))
            #expect(findings.lines.isEmpty)
            #expect(findings.restored.isEmpty)
        }
        #expect(events(resources.note(repairs([device]), of: services, at: at(1200))) == events(first))
    }

    @Test("a restored VIP has an event of its own services")
    func vips() {
        var resources = ManagedResources(at: start)
        let address = ManagedResource("address \(Self.mail.vip)/32 on eth0")
        let repairs = VIPAddresses.Repairs(restored: [(Self.mail.vip, address)])
        let findings = resources.note(repairs, of: services, at: start)
        #expect(lines(findings) == ["warning restored \(address)"])
        #expect(events(findings) == ["\(Self.mail): \(address)"])
    }

    @Test("a resource that cannot be restored is logged once for each reason, without an event")
    func failures() {
        var resources = ManagedResources(at: start)
        func note(_ reason: String, second: Int) -> [String] {
            var repairs = Repairs()
            repairs.failed = [(device, Refusal(description: reason))]
            let findings = resources.note(repairs, of: services, at: at(second))
            #expect(findings.restored.isEmpty)
            return lines(findings)
        }
        #expect(note("not permitted", second: 0) == ["error restore \(device): not permitted"])
        #expect(note("not permitted", second: 1).isEmpty)
        #expect(note("no device", second: 2) == ["error restore \(device): no device"])
        #expect(lines(resources.note(repairs([device]), of: services, at: at(3))) == ["warning restored \(device)"])
        #expect(note("no device", second: 4) == ["error restore \(device): no device"])
    }

    @Test("a check path that was missing excuses the failures of its time, another resource none")
    func checkPath() {
        var resources = ManagedResources(at: start)
        let timeout = Duration.seconds(1)
        #expect(!resources.excuseFailure(after: timeout, at: start))
        _ = resources.note(repairs([device]), of: services, at: at(10))
        #expect(!resources.excuseFailure(after: timeout, at: at(10)))
        _ = resources.note(repairs([device], disturbedChecks: true), of: services, at: at(20))
        // The failure arrived before the look that found the path missing.
        #expect(resources.excuseFailure(after: timeout, at: at(19)))
        #expect(resources.excuseFailure(after: timeout, at: at(20) + .milliseconds(1499)))
        #expect(!resources.excuseFailure(after: timeout, at: at(20) + .milliseconds(1500)))
        #expect(resources.excuseFailure(after: .seconds(5), at: at(25)))
    }

    @Test("many failures at a time make few looks at the check path")
    func looks() {
        var resources = ManagedResources(at: start)
        #expect(resources.mayLook(at: start))
        resources.noteLook(from: start, to: start + .milliseconds(2))
        #expect(!resources.mayLook(at: start + .milliseconds(21)))
        #expect(resources.mayLook(at: start + .milliseconds(22)))
        resources.noteLook(from: at(1), to: at(1) + .milliseconds(100))
        #expect(!resources.mayLook(at: at(1) + .milliseconds(499)))
        #expect(resources.mayLook(at: at(1) + .milliseconds(500)))
    }
}
