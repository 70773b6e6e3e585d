import Glibc
import Synchronization

/// The network namespaces of a benchmark, named after this process.
struct LabNamespaces: Sendable {
    private let prefix = "ipvsd-bench-\(getpid())"

    func name(_ host: String) -> String { "\(prefix)-\(host)" }

    /// The shell function `new`, which creates the namespace that its argument names.
    let makeFunction = """
        new() {
            ip netns add $1
            nsenter --net=/run/netns/$1 -- sysctl -qw net.ipv6.conf.all.disable_ipv6=1 \\
                net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
            ip -n $1 link set lo up
        }

        """

    /// Kills the processes in the namespaces, undoes the changes of ipvsd (`program`), and removes the namespaces.
    func remove(directors: [String], servers: [String], others: [String] = [], program: String) {
        let hosts = directors + servers + others
        let kills = hosts.map { "kill -9 $(ip netns pids \(name($0)))" }
        let undoes =
            directors.map { "nsenter --net=/run/netns/\(name($0)) -- timeout 60 '\(program)' cleanup" }
            + servers.map { "nsenter --net=/run/netns/\(name($0)) -- timeout 60 '\(program)' realserver-setup --undo" }
        let lines = kills + undoes + hosts.map { "ip netns del \(name($0))" }
        try? Tool.run(lines.map { "\($0) >/dev/null 2>&1 || true" }.joined(separator: "\n"))
    }
}

/// The handling of SIGINT and SIGTERM. After either signal, a benchmark cleans up and ends.
enum Interruption {
    private static let cleaner = Mutex<(@Sendable () -> Void)?>(nil)

    /// Starts the thread that waits for the signals. Has to be called before any other thread starts, as threads
    /// inherit the signal mask. `clean(_:)` sets the clean-up, also later.
    static func await() throws {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGINT)
        sigaddset(&signals, SIGTERM)
        pthread_sigmask(SIG_BLOCK, &signals, nil)
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { _ in
                var signals = sigset_t()
                sigemptyset(&signals)
                sigaddset(&signals, SIGINT)
                sigaddset(&signals, SIGTERM)
                var signal: Int32 = 0
                sigwait(&signals, &signal)
                Interruption.cleaner.withLock { $0?() }
                exit(128 + signal)
            }, nil)
        guard code == 0 else { throw Failure("start a thread: \(String(cString: strerror(code)))") }
    }

    /// Sets the clean-up; nil: there is nothing to clean up.
    static func clean(_ body: (@Sendable () -> Void)?) { cleaner.withLock { $0 = body } }
}
