import Glibc
import LoadBalancing
import Logging
import ServiceConfiguration
import Synchronization

/// The process's log on standard error. All loggers write to it in the same format, which a reload may change.
final class LogOutput: Sendable {
    private let current: Mutex<LogFormat>
    private let write: @Sendable (String) -> Void

    init(
        _ format: LogFormat, write: @escaping @Sendable (String) -> Void = { LogOutput.writeToStandardError($0) }
    ) {
        current = Mutex(format)
        self.write = write
    }

    var format: LogFormat {
        get { current.withLock(\.self) }
        set { current.withLock { $0 = newValue } }
    }

    func logger(isVerbose: Bool) -> Logger {
        var logger = Logger(label: "ipvsd") { _ in RecordLogHandler(output: self) }
        logger.logLevel = isVerbose ? .debug : .info
        return logger
    }

    /// Writes a record. The lock prevents parts of two long lines from mixing.
    fileprivate func log(_ record: LogRecord) {
        current.withLock { format in
            switch format {
            case .text: write(record.text + "\n")
            case .json: write(record.json + "\n")
            }
        }
    }

    static func writeToStandardError(_ line: String) {
        var rest = Array(line.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
            if count >= 0 { rest = rest.dropFirst(count) } else if errno != EINTR { return }
        }
    }
}

/// Writes each event of a logger as one record.
private struct RecordLogHandler: LogHandler {
    let output: LogOutput
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    init(output: LogOutput) { self.output = output }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var fields = metadata.merging(event.metadata ?? [:]) { _, ofEvent in ofEvent }
        if let error = event.error { fields["error"] = "\(error)" }
        output.log(
            LogRecord(
                time: LogRecord.now(), level: event.level.rawValue, part: event.source, message: "\(event.message)",
                fields: fields.mapValues { "\($0)" }))
    }
}

/// A record of the log: a sentence, and fields for programs.
struct LogRecord {
    var time: timespec
    var level: String
    /// The Swift target that logs, such as Director.
    var part: String
    var message: String
    var fields: [String: String]

    static func now() -> timespec {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return time
    }

    /// The record as a line for people, with the fields behind the sentence: `KEY=VALUE KEY="VALUE WITH BLANKS"`.
    var text: String {
        let words = sortedFields.map { " \($0.key)=\(Self.word($0.value))" }
        return "\(localTime) \(level) ipvsd: [\(part)] \(message.onOneLine)\(words.joined())"
    }

    /// The record as a JSON object on one line. The record's own keys come first. A field with the name of such a key
    /// is left out.
    var json: String {
        let own = [("time", universalTime), ("level", level), ("part", part), ("message", message)]
        let others = sortedFields.filter { field in !own.contains { $0.0 == field.key } }
        let members = (own + others.map { ($0.key, $0.value) }).map { "\($0.quotedAsJSON):\($1.quotedAsJSON)" }
        return "{\(members.joined(separator: ","))}"
    }

    private var sortedFields: [(key: String, value: String)] { fields.sorted { $0.key < $1.key } }

    // MARK: Values

    private static func word(_ value: String) -> String {
        let isPlain =
            !value.isEmpty
            && !value.unicodeScalars.contains {
                $0.properties.isWhitespace || $0 == "\"" || $0 == "=" || $0 == "\\"
            }
        let line = value.onOneLine
        return isPlain && line == value ? value : value.quotedAsJSON
    }

    // MARK: Times

    /// The local time to the second, with the offset from UTC: `2026-12-01T02:01:53+0000`.
    private var localTime: String {
        var (seconds, parts) = (time.tv_sec, tm())
        localtime_r(&seconds, &parts)
        return Self.format(parts, "%Y-%m-%dT%H:%M:%S%z")
    }

    /// The time in UTC to the millisecond, as in events: `2026-12-01T02:01:53.042Z`.
    private var universalTime: String {
        var (seconds, parts) = (time.tv_sec, tm())
        gmtime_r(&seconds, &parts)
        let milliseconds = String(time.tv_nsec / 1_000_000 + 1000).dropFirst()
        return Self.format(parts, "%Y-%m-%dT%H:%M:%S.") + milliseconds + "Z"
    }

    private static func format(_ parts: tm, _ pattern: String) -> String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { buffer in
            guard let start = buffer.baseAddress else { return "" }
            var parts = parts
            return strftime(start, buffer.count, pattern, &parts) > 0 ? String(cString: start) : ""
        }
    }
}
