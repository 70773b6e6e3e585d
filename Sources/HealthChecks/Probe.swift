/// One question to a real server.
public enum Probe: Hashable, Sendable, CustomStringConvertible {
    /// An ICMP echo.
    case ping
    /// A TCP connect to the port, closed at once.
    case tcp(port: UInt16)
    case check(Check, via: Check.Via)

    public var description: String {
        switch self {
        case .ping: "ping"
        case .tcp(let port): "tcp:\(port)"
        case .check(let check, _): check.description
        }
    }
}

/// The answer to a probe.
public enum ProbeResult: Sendable, Equatable {
    case success
    /// What went wrong, as an operator would say it. `hostAnswered`: the host itself said no.
    case failure(String, hostAnswered: Bool = false)

    public var isSuccess: Bool { self == .success }
}
