import Glibc
import Processes
import Synchronization

/// A program in a network namespace. Its lines of output are kept with their times.
final class LabProcess: Sendable {
    struct Line: Sendable {
        /// Nanoseconds of the monotonic clock.
        var time: UInt64
        var text: String
    }

    private final class Transcript: Sendable {
        struct Contents {
            var lines: [Line] = []
            /// The beginning of a line whose end has not come yet.
            var rest: [UInt8] = []
            /// Whether the program has ended.
            var isOver = false
        }

        let contents = Mutex(Contents())

        func append(_ bytes: ArraySlice<UInt8>) {
            contents.withLock { contents in
                contents.rest += bytes
                while let end = contents.rest.firstIndex(of: UInt8(ascii: "\n")) {
                    let text = String(decoding: contents.rest[..<end], as: UTF8.self)
                    contents.lines.append(Line(time: nanoseconds(), text: text))
                    contents.rest.removeSubrange(...end)
                }
            }
        }
    }

    /// The process, which has a process group of its own. A Ctrl-C reaches only the benchmark, which then ends the
    /// program.
    private let process: ChildProcess
    private let transcript: Transcript

    init(namespace: String, _ command: [String]) throws {
        let transcript = Transcript()
        let process = ChildProcess(["/usr/bin/env"] + command, streams: .handed { transcript.append($0) })
        (self.transcript, self.process) = (transcript, process)
        _ = try NamespaceThread(namespace: namespace) {
            do { _ = try process.run() } catch { transcript.append(Array("\(error)\n".utf8)[...]) }
            transcript.contents.withLock { $0.isOver = true }
        }
    }

    var lines: [Line] { transcript.contents.withLock(\.lines) }
    var text: String { lines.map(\.text).joined(separator: "\n") }

    /// Returns user and system time of all the program's threads, in seconds (proc(5), stat).
    func cpuTime() throws -> Double {
        let path = "\(directory)/stat"
        guard let text = Tool.text(path), let end = text.lastIndex(of: ")") else { throw Failure("read \(path)") }
        let fields = text[end...].split(separator: " ")
        guard fields.count > 13, let user = Double(fields[12]), let system = Double(fields[13]) else {
            throw Failure("read \(path)")
        }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// Returns the program's resident memory in bytes (proc(5), smaps). With a `path` only mappings of that file count.
    func residentMemory(of path: String? = nil) throws -> Int {
        let mappings = "\(directory)/smaps"
        guard let text = Tool.text(mappings), !text.isEmpty else { throw Failure("read \(mappings)") }
        var kilobytes = 0
        var counts = false
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            // The first line of a mapping has its addresses, without a colon, and its path.
            if !words[0].hasSuffix(":") {
                counts = path.map { words.last == Substring($0) } ?? true
            } else if counts, words[0] == "Rss:", words.count > 1, let size = Int(words[1]) {
                kilobytes += size
            }
        }
        return kilobytes * 1024
    }

    /// The process's directory in /proc.
    private var directory: String { "/proc/\(process.identifier.map(String.init) ?? "of a program that has ended")" }

    func kill() { process.kill() }

    /// Sends SIGTERM, and SIGKILL if the program has not ended after `seconds`. Then waits for its end, at most 10 s.
    func end(seconds: Int = 20) {
        process.terminate()
        for _ in 0..<(seconds * 100) where !isOver { usleep(10_000) }
        kill()
        for _ in 0..<1000 where !isOver { usleep(10_000) }
    }

    private var isOver: Bool { transcript.contents.withLock(\.isOver) }
}
