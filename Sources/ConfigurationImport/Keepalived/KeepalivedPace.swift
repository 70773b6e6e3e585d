internal import ServiceConfiguration

/// How often keepalived checks: a virtual server's words hold for its real servers, and theirs for their checkers.
struct KeepalivedPace: Equatable {
    var delayLoop: Duration?
    var connectTimeout: Duration?
    var retry: Int?
    var delayBeforeRetry: Duration?

    /// What a kind of checker has where nothing is said (queue_checker and each checker's handler in keepalived).
    struct Standard {
        var retry = 1
        /// Nil: the delay loop.
        var delayBeforeRetry: Duration? = .seconds(1)
        /// Of the program that a MISC_CHECK runs; nil: connect_timeout.
        var timeout: Duration?
    }

    /// False: the keyword is none of these. Only a checker may do without retries.
    mutating func take(_ statement: KeepalivedStatement, isChecker: Bool = false) throws(InvalidValue) -> Bool {
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

    /// One success brings a server up, `retry` failures more than one take it down; the defaults are keepalived's: 60 s
    /// between checks, 5 s for an answer. `remark` is told what cannot be so.
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
        // Else a slow server, which keepalived waits for, would be out.
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
