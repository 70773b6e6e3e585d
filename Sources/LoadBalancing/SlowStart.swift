/// A real server that comes back gets its share of new connections in ten steps, of which the first is there at once.
public enum SlowStart {
    /// Tenths of a share.
    public static let whole = 10

    /// How many tenths of its share a server has at this time after it came back; all of them from `duration` on.
    public static func tenths(after elapsed: Duration, of duration: Duration) -> Int {
        (1...whole).last { elapsed >= time(ofTenths: $0, of: duration) } ?? 1
    }

    /// When, after it came back, the server has so many tenths.
    public static func time(ofTenths tenths: Int, of duration: Duration) -> Duration {
        duration * (tenths - 1) / (whole - 1)
    }
}

extension Scheduler {
    /// Whether a real server's share of new connections can grow. Those without have no shares: they prefer one server
    /// to the others, whatever its weight's part.
    public var hasShares: Bool {
        switch self {
        case .rr, .wrr, .lc, .wlc, .sed, .nq, .sh, .mh, .twos: true
        case .dh, .fo, .ovf, .lblc, .lblcr: false
        }
    }
}
