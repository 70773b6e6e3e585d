internal import ServiceConfiguration

/// The pace of keepalived's checks. Nil means that a value is not written. A virtual server's values hold for its real
/// servers, and a real server's values hold for its checkers.
struct KeepalivedPace: Equatable {
    var delayLoop: Duration?
    var connectTimeout: Duration?
    var retry: Int?
    var delayBeforeRetry: Duration?

    /// The defaults of a kind of checker (queue_checker and each checker's handler in keepalived).
    struct Standard {
        var retry = 1
        /// The delay before a retry. Nil means the delay loop.
        var delayBeforeRetry: Duration? = .seconds(1)
        /// The time-out of a MISC_CHECK's program. Nil, for all other checkers, means connect_timeout.
        var timeout: Duration?
    }

    /// Reads a statement of the pace, and returns false for any other statement. Only a checker can have 0 retries.
    mutating func read(_ statement: KeepalivedStatement, isChecker: Bool = false) throws(InvalidValue) -> Bool {
        switch statement.keyword {
        case "delay_loop": delayLoop = try statement.timer(from: 1)
        case "connect_timeout": connectTimeout = try statement.timer(from: 1, to: 4_294_967_295)
        case "retry", "nb_get_retry":
            retry = try statement.number(
                in: (isChecker ? 0 : 1)...4_294_967_295, called: "number of retries", isExact: !isChecker)
        case "delay_before_retry": delayBeforeRetry = try statement.timer(from: 0)
        default: return false
        }
        return true
    }

    func inheriting(from other: KeepalivedPace) -> KeepalivedPace {
        KeepalivedPace(
            delayLoop: delayLoop ?? other.delayLoop, connectTimeout: connectTimeout ?? other.connectTimeout,
            retry: retry ?? other.retry, delayBeforeRetry: delayBeforeRetry ?? other.delayBeforeRetry)
    }

    /// Returns ipvsd's pace. One success brings a real server up, and one failure more than `retry` takes it down.
    /// keepalived's defaults are 60 s between checks and 5 s for an answer. `remark` gets a text for each changed
    /// value.
    func pace(_ standard: Standard, _ remark: (ImportRemark.Kind, String) -> Void) -> CheckPace {
        let accepted = DurationText.accepted
        func fit(_ duration: Duration, _ name: String) -> Duration {
            let fitting = min(max(duration, accepted.lowerBound), accepted.upperBound)
            if duration > accepted.upperBound {
                remark(.changed, "\(name) \(DurationText.format(duration)) becomes 1h, the longest")
            }
            return fitting
        }
        let loop = fit(delayLoop ?? .seconds(60), "delay_loop")
        let timeout = fit(standard.timeout ?? connectTimeout ?? .seconds(5), "the time-out")
        // keepalived waits for a slow real server's answer before the delay begins, so the interval is at least the
        // time-out.
        let interval = max(loop, timeout)
        if interval > loop {
            remark(
                .note,
                "checks come every \(DurationText.format(interval)), the time-out, instead of \(DurationText.format(loop)) "
                    + "after an answer: ipvsd's \(Options.checkInterval.keyName) is from the start of one to the start "
                    + "of the next")
        }
        let again = fit(delayBeforeRetry ?? standard.delayBeforeRetry ?? loop, "delay_before_retry")
        if again > interval {
            remark(.note, "a retry comes after \(DurationText.format(interval)), the interval, at the latest")
        }
        let retries = retry ?? standard.retry
        if retries > 99 { remark(.changed, "retry \(retries) becomes 99: \(Options.fall.keyName) is at most 100") }
        return CheckPace(
            interval: interval, fastInterval: min(again, interval), timeout: timeout, rise: 1,
            fall: min(retries, 99) + 1)
    }
}
