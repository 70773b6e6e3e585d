/// How many connections, active and inactive, a real server is to have: IPVS's u_threshold and l_threshold
/// (`ipvsadm -x` and `-y`).
public struct ConnectionThresholds: Hashable, Sendable {
    /// From so many on the server gets no new ones; not 0.
    public let upper: UInt32
    /// Until they are fewer than so many; nil: three quarters of `upper`, as in ip_vs_conn.c.
    public let lower: UInt32?

    public init(upper: UInt32, lower: UInt32? = nil) {
        precondition(upper > 0, "an upper threshold of 0 is none")
        precondition(lower.map { $0 > 0 && $0 <= upper } ?? true, "a lower threshold is from 1 to the upper one")
        self.upper = upper
        self.lower = lower
    }

    /// `lower`, or what stands for it: at least 1.
    public var effectiveLower: UInt32 { lower ?? upper - upper / 4 }

    /// Whether a server with so many connections is overloaded; `wasOverloaded`: when it last had another number.
    public func areExceeded(by connections: UInt32, wasOverloaded: Bool) -> Bool {
        connections >= upper || (wasOverloaded && connections >= effectiveLower)
    }
}
