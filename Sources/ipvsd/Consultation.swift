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
                try reports.flatMap(\.findings).repair(with: setup) { step in
                    repaired.append("\(step)")
                    if !options.json { print("mended: \(step)") }
                }
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
