import ArgumentParser
import Doctor
import Glibc
import Netlink
import RealServerSetup
import SystemCalls

/// One visit of the doctor's: looks, mends if asked to, looks again, and says what there still is.
struct Consultation {
    var realServer: RealServerExaminer?
    var director: DirectorExaminer?
    var setup: RealServerSetup?
    var options: DoctorOptions

    /// Of a command that has found a fault.
    static let faultsFound = ExitCode(1)

    private static let rounds = 3

    func run() throws {
        var reports = try examine()
        var repaired: [String] = []
        if options.fix, let setup {
            // A device that one repair creates may have inherited what the next one mends.
            for _ in 0..<Self.rounds where reports.flatMap(\.findings).contains(where: { $0.repair != nil }) {
                // A repair that fails takes its steps back.
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
