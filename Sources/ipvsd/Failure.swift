import ArgumentParser
import CLinux
import DataPlane
import Director
import Glibc
import HostState
import LoadBalancing
import Logging
import ServiceConfiguration
import SystemCalls

/// A failed command: a line for each error on standard error, and an exit code. ipvsd's own codes are below 64, the
/// others are from sysexits.h.
struct Failure: Error, CustomStringConvertible {
    enum Code: Int32, CaseIterable {
        case badValue = 64
        case interface = 69
        case kernel = 71
        case alreadyRunning = 75
        case noPrivilege = 77
        /// Some output could not be written.
        case output = 74
        /// `import` alone: something behaves differently than with the source.
        case changed = 1
        /// No daemon runs or answers.
        case noDaemon = 3
        /// `drain` alone: connections are left at the time-out.
        case connectionsLeft = 4
        /// `drain` alone: a service would lose its quorum, or an operator undrained the real server meanwhile.
        case notDrained = 5
    }

    let code: Code
    let description: String

    init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }

    init(_ error: DirectorError) {
        let code: Code =
            switch error.kind {
            case .interface: .interface
            case .kernel: .kernel
            case .alreadyRunning: .alreadyRunning
            case .noPrivilege: .noPrivilege
            case .badValue: .badValue
            case .tooFew, .notDrained: .notDrained
            }
        self.init(code, error.description)
    }

    /// Creates the failure of a command that ended with the error; nil for errors that are not failures, such as an
    /// exit code.
    init?(describing error: any Error) {
        switch error {
        case let failure as Failure: self = failure
        case let error as DirectorError: self.init(error)
        case is any KernelError, is DataPlaneError: self.init(DirectorError(error))
        default: return nil
        }
    }

    /// Logs the failure in place of `report`, a record for each error. Returns the exit code.
    func log(to logger: Logger) -> ExitCode {
        for line in description.split(separator: "\n") {
            logger.error("\(line)", metadata: ["code": "\(code.rawValue)"])
        }
        return ExitCode(code.rawValue)
    }

    /// Prints the lines on standard error. Returns the exit code, which the caller throws.
    func report() -> ExitCode {
        Self.write(description)
        return ExitCode(code.rawValue)
    }

    /// Writes the text to standard error, with the program's name before each line.
    static func write(_ text: String) {
        LogOutput.writeToStandardError(text.split(separator: "\n").map { "ipvsd: \($0.onOneLine)\n" }.joined())
    }
}

/// Runs a command's body, and turns its failure into lines on standard error and an exit code. Output that cannot be
/// written is a failure, too.
func reporting<Result>(_ body: () async throws -> Result) async throws -> Result {
    do {
        let result = try await body()
        let code = clinux_flush_standard_output()
        if code != 0 { throw Failure(.output, "write to standard output: \(String(cString: strerror(code)))") }
        return result
    } catch {
        guard let failure = Failure(describing: error) else { throw error }
        throw failure.report()
    }
}

/// Throws unless root runs the command. Only root may read the director's state. The doctor needs raw sockets, the
/// firewall's rules and /proc of all processes.
func requireRoot(to deed: String = "talk to the director") throws {
    guard geteuid() == 0 else { throw Failure(.noPrivilege, "only root may \(deed) (run as root)") }
}

/// Returns the value of `body`. A bad value becomes a failure that names `place`.
func valid<Value>(_ place: String, _ body: () throws(InvalidValue) -> Value) throws -> Value {
    do { return try body() } catch { throw Failure(.badValue, "\(ConfigurationError(place: place, error))") }
}

/// Prints on standard output, in place of Swift's function of that name. Control characters become escapes, since texts
/// may come from servers and files.
func print(_ value: some CustomStringConvertible, terminator: String = "\n") {
    Swift.print(value.description.onItsLines, terminator: terminator)
}

extension String {
    /// Returns the text with blanks behind it, up to the width of a column.
    func padded(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
