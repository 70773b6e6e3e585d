internal import LoadBalancing
internal import Logging

/// What the director is to log and to tell of its network.
struct NetworkFindings {
    struct Line: Equatable {
        var level: Logger.Level
        var text: String

        init(_ level: Logger.Level, _ text: String) {
            self.level = level
            self.text = text
        }
    }

    /// Lines of the log, in this order.
    private(set) var lines: [Line] = []
    /// Services of which resources were put back, with the event's reason. They are told after the lines are logged.
    var restored: [(service: ServiceAddress, reason: String)] = []

    mutating func log(_ level: Logger.Level, _ text: String) { lines.append(Line(level, text)) }
}
