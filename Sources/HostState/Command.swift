internal import Processes
internal import SystemCalls

/// Programs of the machine by their names, such as nft(8) and modprobe(8).
package enum Command {
    package enum Failure: Error, CustomStringConvertible {
        case missing(String)
        case failed(String)
        package var description: String {
            switch self {
            case .missing(let name): "\(name) is not installed"
            case .failed(let reason): reason
            }
        }
    }

    private static let directories = ["/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/", "/usr/local/sbin/"]
    private static let largestOutput = 64 << 20

    /// Runs a program and returns its standard output. After `seconds`, the program is killed.
    package static func output(_ name: String, _ arguments: [String], seconds: Int = 10) throws(Failure) -> String {
        let outcome = try run(name, arguments, .kept(limit: largestOutput), deadline: .seconds(seconds))
        if outcome.isLate { throw .failed("\(name) gave no answer within \(seconds) s") }
        if outcome.isCut { throw .failed("\(name) printed more than \(largestOutput >> 20) MiB") }
        let ending: String
        switch outcome.ending {
        case .exited(0): return String(decoding: outcome.output, as: UTF8.self)
        case .exited(let status): ending = "status \(status)"
        case .signalled(let signal): ending = "signal \(signal)"
        }
        let reason = String(decoding: outcome.errors.prefix(512).prefix { $0 != 10 }, as: UTF8.self)
        throw .failed("\(name) failed (\(ending))" + (reason.isEmpty ? "" : ": \(reason)"))
    }

    /// Runs a program and returns its exit status. 127: the program is not installed or cannot be started. 128: a
    /// signal ended it. The output is discarded.
    package static func status(_ name: String, _ arguments: [String]) -> Int32 {
        guard let outcome = try? run(name, arguments, .discarded) else { return 127 }
        return if case .exited(let status) = outcome.ending { status } else { 128 }
    }

    private static func run(
        _ name: String, _ arguments: [String], _ streams: ChildProcess.Streams, deadline: Duration? = nil
    ) throws(Failure) -> ChildProcess.Outcome {
        guard let path = directories.lazy.map({ $0 + name }).first(where: File.exists) else { throw .missing(name) }
        do { return try ChildProcess([path] + arguments, streams: streams).run(deadline: deadline) } catch {
            throw .failed("\(error)")
        }
    }
}
