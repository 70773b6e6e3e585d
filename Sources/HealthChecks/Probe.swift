/// One question to a real server: what is asked, and which way it goes. Equal ones need to be asked only once.
public struct Probe: Hashable, Sendable, CustomStringConvertible {
    public var check: Check
    public var via: Check.Via

    public init(_ check: Check, via: Check.Via = .tunnel) {
        self.check = check
        self.via = via
    }

    public static let ping = Probe(.echo(EchoCheck()))

    public static func tcp(port: UInt16) -> Probe { Probe(.tcp(TCPCheck(port: port))) }

    public var description: String { check.description }
}

/// The answer to a probe.
public enum ProbeResult: Sendable, Equatable {
    case success
    /// What went wrong, as an operator would say it.
    case failure(String)
    /// Nobody answered, not even with a refusal; what went wrong, as an operator would say it.
    case silence(String)

    public var isSuccess: Bool { self == .success }
}
