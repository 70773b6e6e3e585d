import CLinux
import Glibc
import Synchronization

/// A program in a network namespace, whose lines are kept with the time at which they came.
final class LabProcess: Sendable {
    struct Line: Sendable {
        /// Nanoseconds of the monotonic clock.
        var time: UInt64
        var text: String
    }

    private let pid: pid_t
    private let kept = Mutex<[Line]>([])
    private let hasEnded = Atomic(false)

    init(namespace: String, _ command: [String]) throws {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Failure("make a pipe: \(errorText())") }
        let words = ["/usr/bin/env", "nsenter", "--net=/run/netns/\(namespace)", "--"] + command
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        arguments.append(nil)
        defer { for argument in arguments { free(argument) } }
        var process: pid_t = 0
        // In a process group of its own: a Ctrl-C is for the bench, which then ends what it started.
        let code = clinux_spawn(&arguments, environ, ends[1], ends[1], &process)
        close(ends[1])
        pid = process
        guard code == 0 else {
            close(ends[0])
            throw Failure("start \(words.joined(separator: " ")): \(String(cString: strerror(code)))")
        }
        let reader = ends[0]
        _ = try NamespaceThread(namespace: namespace) { [weak self] in Self.read(reader) { self?.keep($0) } }
    }

    var lines: [Line] { kept.withLock { $0 } }
    var text: String { lines.map(\.text).joined(separator: "\n") }

    private func keep(_ line: String) {
        let line = Line(time: nanoseconds(), text: line)
        kept.withLock { $0.append(line) }
    }

    private static func read(_ descriptor: Int32, _ line: (String) -> Void) {
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 4096)
        var rest: [UInt8] = []
        while true {
            let count = Glibc.read(descriptor, &bytes, bytes.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return }
            rest += bytes.prefix(count)
            while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                line(String(decoding: rest[..<end], as: UTF8.self))
                rest.removeSubrange(...end)
            }
        }
    }

    /// User and system time of all its threads, in seconds (proc(5), stat).
    func cpuTime() throws -> Double {
        guard let text = Tool.text("/proc/\(pid)/stat"), let end = text.lastIndex(of: ")") else {
            throw Failure("read /proc/\(pid)/stat")
        }
        let fields = text[end...].split(separator: " ")
        guard fields.count > 13, let user = Double(fields[12]), let system = Double(fields[13]) else {
            throw Failure("read /proc/\(pid)/stat")
        }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// Bytes that are resident; of the mappings of what `path` names alone, where that is given (proc(5), smaps).
    func residentMemory(of path: String? = nil) throws -> Int {
        guard let text = Tool.text("/proc/\(pid)/smaps"), !text.isEmpty else {
            throw Failure("read /proc/\(pid)/smaps")
        }
        var kilobytes = 0
        var counts = false
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            // A mapping begins with its addresses, without a colon, and ends with its path.
            if !words[0].hasSuffix(":") {
                counts = path.map { words.last == Substring($0) } ?? true
            } else if counts, words[0] == "Rss:", words.count > 1, let size = Int(words[1]) {
                kilobytes += size
            }
        }
        return kilobytes * 1024
    }

    func kill(_ signal: Int32 = SIGKILL) { Glibc.kill(pid, signal) }

    /// Asks it to end, and makes it after `seconds`. Its exit status, as of wait(2).
    @discardableResult
    func end(seconds: Int = 20) -> Int32 {
        guard !hasEnded.exchange(true, ordering: .relaxed) else { return 0 }
        kill(SIGTERM)
        var status: Int32 = 0
        for _ in 0..<(seconds * 100) {
            if waitpid(pid, &status, WNOHANG) == pid { return status }
            usleep(10_000)
        }
        kill()
        waitpid(pid, &status, 0)
        return status
    }
}
