import ArgumentParser
import Doctor
import Glibc
import Netlink
import RealServerSetup
import SystemCalls

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
