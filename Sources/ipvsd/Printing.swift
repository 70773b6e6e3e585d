import LoadBalancing
import Logging

/// Prints on standard output, in place of Swift's function of that name: texts of others do not reach the terminal raw.
func print(_ value: some CustomStringConvertible, terminator: String = "\n") {
    Swift.print(value.description.onItsLines, terminator: terminator)
}

/// A log on standard error with one line a record.
struct LineLogHandler: LogHandler {
    private var handler: StreamLogHandler

    init(label: String) { handler = .standardError(label: label) }

    var metadata: Logger.Metadata {
        get { handler.metadata }
        set { handler.metadata = newValue }
    }

    var logLevel: Logger.Level {
        get { handler.logLevel }
        set { handler.logLevel = newValue }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { handler[metadataKey: key] }
        set { handler[metadataKey: key] = newValue }
    }

    func log(event: LogEvent) {
        var event = event
        event.message = Logger.Message(stringLiteral: event.message.description.onOneLine)
        handler.log(event: event)
    }
}
