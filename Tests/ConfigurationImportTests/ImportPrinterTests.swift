import LoadBalancing
import Testing

@testable import ConfigurationImport
@testable import ServiceConfiguration

/// The printing of imported services by the declarations of options.
struct ImportPrinterTests {
    private var service: ImportedService {
        let place = SourcePlace(file: "in", line: 1, order: 0)
        var service = ImportedService(place: place, title: "a service")
        service.listeners = [ImportedListener(address("10.0.0.100:53/udp"))]
        service.servers = [ImportedServer(place: place, server: server("10.0.0.11=3"))]
        return service
    }

    private func text(of service: ImportedService) -> String {
        var file = ImportedFile(name: "in")
        file.services = [service]
        return ImportPrinter(file).text
    }

    @Test("values that no source sets are printed, and read back")
    func valuesWithoutSource() throws {
        var service = service
        service.forwarding.maglevSize = 251
        service.forwarding.onServerLoss = .reset
        service.forwarding.onServerRemoval = .finish
        service.forwarding.isOnePacket = true
        service.policy = ServicePolicy(
            inhibits: true, slowStart: .seconds(30), flapDamping: .seconds(60),
            quorum: Quorum.Rule(required: 2, hysteresis: 1), sorryServer: address("10.0.0.99").vip)
        let configuration = try ConfigurationFile.parse(text(of: service), file: "out")
        let read = try #require(configuration.services.first)
        var forwarding = service.forwarding
        forwarding.address = address("10.0.0.100:53/udp")
        forwarding.servers = [server("10.0.0.11=3")]
        #expect(read.forwarding == forwarding)
        #expect(read.policy == service.policy)
    }

    @Test("defaults are not printed, save for scheduler and check")
    func defaults() {
        let lines = text(of: service).split(separator: "\n").filter { $0.first == " " && !$0.contains("#") }
        #expect(
            lines == [
                "  - listeners: 10.0.0.100:53/udp", "    scheduler: wlc", "    check: auto", "    servers:",
                "      - 10.0.0.11=3",
            ])
    }

    @Test("a service with another policy is another service")
    func comparison() {
        var other = service
        #expect(other.serves(as: service))
        other.policy.flapDamping = .seconds(60)
        #expect(!other.serves(as: service))
        other = service
        other.forwarding.onServerLoss = .reset
        #expect(!other.serves(as: service))
    }

    @Test("every option of a service is printed by its declaration, or the printer has a form for it")
    func everyOptionIsPrinted() {
        let forms: [any DeclaredOption] = [
            Options.listeners, Options.scheduler, Options.schedulerFlags, Options.persistenceMapping, Options.weight,
            Options.upperThreshold, Options.lowerThreshold, Options.servers, Options.check, Options.checkList,
            Options.via, Options.checkInterval, Options.checkFastInterval, Options.checkTimeout, Options.rise,
            Options.fall, Options.notifyMapping, Options.hysteresis, Options.sorryServer,
        ]
        let settings = Options.serviceSettings.map(\.option) + Options.policySettings.map(\.option)
        #expect((forms + settings).map(\.keyName).sorted() == Options.keys(of: .service).sorted())
    }
}
