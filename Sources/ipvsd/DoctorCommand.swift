import Addresses
import ArgumentParser
import Control
import Director
import Doctor
import FoundationEssentials
import Glibc
import HostState
import LoadBalancing
import Netlink
import RealServerSetup
import ServiceConfiguration
import SystemCalls
import XDPDataPlane

/// `ipvsd doctor`: the faults of this machine as a director, a real server or both.
struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Find faults of a director or a real server.",
        discussion: """
            A machine with the state of a director is examined as a director. With --vip, or where realserver-setup has \
            put VIPs, it is examined as a real server. Both are possible. Other addresses of tunl0 are left out.

              ipvsd doctor
              ipvsd doctor --vip 10.0.0.100 --director 10.0.0.2 --port 80
              ipvsd doctor --fix

            Exit codes: 0 healthy, 1 faults found, 64 a bad value or nothing to examine, 71 the kernel refuses, 75 another \
            realserver-setup is at work, 77 no privilege.
            """)

    @Option(
        help: ArgumentHelp(
            "A virtual IP of this real server. Repeats, or takes commas. Default: those of realserver-setup.",
            valueName: "address"))
    var vip: [String] = []

    @OptionGroup var doctor: DoctorOptions
    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            let named = try RealServerSetupCommand.addresses(vip)
            // Bad values are reported before a missing privilege.
            _ = try doctor.examiner(vips: [], mss: .auto)
            try requireRoot(to: "look at everything")
            let instance = try common.instance()
            let status = try await status(instance)
            let held = try RealServerExaminer.addressesOfTunnel()
            let known = try RealServerSetup.knownVIPs(instance: instance)
            let directed = Set(status?.services.flatMap(\.listeners).map(\.vip) ?? [])
            // A VIP of the director alone does not make this machine a real server.
            let vips =
                named.isEmpty
                ? directed.intersection(held).union(known).sorted()
                : named.filter { !directed.contains($0) || held.contains($0) || known.contains($0) }
            if status == nil && vips.isEmpty {
                let list = held.map { "\($0)" }.joined(separator: ", ")
                throw Failure(
                    .badValue,
                    "neither a director's state nor a VIP of realserver-setup is here: say --vip A.B.C.D"
                        + (held.isEmpty ? "" : " (tunl0 holds \(list), which may be others' addresses)"))
            }
            let isRealServer = !vips.isEmpty
            let interfaces = try RealServerSetup.ingressInterfaces(instance: instance)
            var examiner = try doctor.examiner(vips: vips, mss: .auto)
            examiner.ownVIPs = known
            examiner.interfaces = interfaces
            let consultation = Consultation(
                realServer: isRealServer ? examiner : nil,
                director: status.map { DirectorExaminer(claim($0, try? ChangeJournal.read(path: instance.journal))) },
                setup: isRealServer ? RealServerSetup(vips: vips, interfaces: interfaces, instance: instance) : nil,
                options: doctor)
            try RealServerSetupCommand.naming { try consultation.run() }
        }
    }

    private func status(_ instance: InstancePaths) async throws -> DirectorStatus? {
        do {
            return try await ControlClient(socket: instance.controlSocket, timeoutSeconds: 3).status()
        } catch { return try Director.storedStatus(instance: instance, dataPlanes: XDPDataPlanes())?.status }
    }

    private func claim(_ status: DirectorStatus, _ changes: [Change]?) -> DirectorExaminer.Claim {
        var order: [IPAddress] = []
        var places: [IPAddress: [(service: String, downReason: String?)]] = [:]
        for service in status.services {
            let name = service.listeners.first.map { "\($0.address)" } ?? ""
            for server in service.servers where server.method == "tunnel" && server.health != .removed {
                if places[server.address] == nil { order.append(server.address) }
                let reason = server.health == .down ? server.reason ?? "its check failed" : nil
                places[server.address, default: []].append((name, reason))
            }
        }
        return DirectorExaminer.Claim(
            isDaemonRunning: status.pid != nil, interfaces: status.xdp.interfaces,
            vips: Set(status.services.flatMap(\.listeners).map(\.vip)).sorted(),
            servers: order.map { ($0, downReason(in: places[$0] ?? [])) }, strays: strays(status),
            strayPriority: StrayProgram.priority, changes: changes)
    }

    /// Returns the stray packets of the last ten minutes. Older packets may come from an earlier set-up.
    private func strays(_ status: DirectorStatus) -> [DirectorFacts.Stray] {
        (status.strays ?? []).compactMap { stray in
            guard let last = try? Date(stray.last, strategy: .iso8601), last > Date(timeIntervalSinceNow: -600) else {
                return nil
            }
            return DirectorFacts.Stray(
                interface: stray.interface, vip: stray.vip, packets: stray.packets, last: stray.last)
        }
    }

    /// Returns the reason why a real server is down; nil: it is not down in any service. The text names the services if
    /// the server is up in another service, or if the reasons differ.
    private func downReason(in places: [(service: String, downReason: String?)]) -> String? {
        let reasons = places.compactMap(\.downReason)
        guard let first = reasons.first else { return nil }
        if reasons.count == places.count, reasons.allSatisfy({ $0 == first }) { return first }
        let named = places.compactMap { place in place.downReason.map { "in \(place.service): \($0)" } }
        let more = named.count > 4 ? ["and in \(named.count - 4) more services"] : []
        return (named.prefix(4) + more).joined(separator: "; ")
    }
}

/// The options of `doctor` and `realserver-setup --check` besides the VIPs.
struct DoctorOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The director's own address, to check that it can be reached, and by packets of which size.",
            valueName: "address"))
    var director: String?

    @Option(
        help: ArgumentHelp("The port at which the service has to listen. Default: any.", valueName: "number"))
    var port: String?

    @Option(
        name: .declared(Options.outerSources),
        help: ArgumentHelp("The value of the director's option of that name.", valueName: "A.B.C.D/LENGTH"))
    var outerSourcePrefix: String?

    @Flag(help: "Print JSON.")
    var json = false

    @Flag(help: "Repair faults where possible. 'ipvsd realserver-setup --undo' takes the repairs back.")
    var fix = false

    func examiner(vips: [IPAddress], mss: MSSPolicy) throws -> RealServerExaminer {
        RealServerExaminer(
            vips: vips,
            director: try director.map { text in
                try valid("--director \(text)") { () throws(InvalidValue) in try AddressText.address(text) }
            },
            outerSources: try outerSourcePrefix.map { text in
                try valid("\(Options.outerSources.flagName) \(text)") { () throws(InvalidValue) in
                    try Options.outerSources.syntax.parse(text)
                }
            },
            port: try port.map { text in
                try valid("--port \(text)") { () throws(InvalidValue) in try AddressText.port(text) }
            }, mss: mss)
    }
}

/// A run of the doctor: it examines, repairs with `--fix`, examines again, and prints the remaining findings.
struct Consultation {
    var realServer: RealServerExaminer?
    var director: DirectorExaminer?
    var setup: RealServerSetup?
    var options: DoctorOptions

    /// The exit code of a command that has found a fault.
    static let faultsFound = ExitCode(1)

    private static let rounds = 3

    func run() throws {
        var reports = try examine()
        var repaired: [String] = []
        if options.fix, let setup {
            // A device that one repair makes may inherit a fault, which the next round repairs.
            for _ in 0..<Self.rounds where reports.flatMap(\.findings).contains(where: { $0.repair != nil }) {
                // A repair that fails undoes its steps, so steps are printed afterwards.
                var steps: [String] = []
                try reports.flatMap(\.findings).repair(with: setup) { steps.append("\($0)") }
                repaired += steps
                if !options.json { steps.forEach { print("mended: \($0)") } }
                reports = try examine()
            }
        }
        print(options.json ? try reports.json(repaired: repaired) : reports.text())
        if !reports.areHealthy { throw Self.faultsFound }
    }

    private func examine() throws -> [Report] {
        do {
            return [try realServer?.examine(), try director?.examine()].compactMap(\.self)
        } catch let error as NetlinkError where error.isMissingPrivilege {
            throw Failure(.noPrivilege, "\(error) (run as root)")
        } catch let error as NetlinkError {
            throw Failure(.kernel, "\(error)")
        }
    }
}
