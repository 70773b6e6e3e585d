public import LoadBalancing
public import NIOCore

/// Asks real servers, through the tunnel or directly. Every question ends within its time-out.
public struct Prober: Sendable {
    /// The way of a question: to the VIP through the tunnel, or to the server's own address.
    public enum Way: Sendable, CustomStringConvertible {
        /// `mark` names the real server to the program on `device`, an interface's index; `source` is the director's.
        case tunnel(vip: IPv4Address, mark: UInt32, device: Int32, source: IPv4Address)
        case direct(IPv4Address)

        public var isTunnel: Bool { if case .tunnel = self { true } else { false } }

        var destination: IPv4Address {
            switch self {
            case .tunnel(let vip, _, _, _): vip
            case .direct(let address): address
            }
        }

        public var description: String {
            switch self {
            case .tunnel(let vip, _, _, _): "to \(vip) through the tunnel"
            case .direct(let address): "to \(address)"
            }
        }
    }

    private let checker: Checker

    public init(group: any EventLoopGroup) { checker = Checker(group: group) }

    /// A check of any kind, by the way or ways that it names; where there is no tunnel, by the one way that there is.
    public func ask(
        _ check: Check, via: Check.Via, by way: Way, server: IPv4Address, timeout: Duration
    ) async -> CheckVerdict {
        switch via {
        case .both where way.isTunnel:
            return await checker.run(check, tunnel: way, server: server, deadline: timeout)
        case .direct where way.isTunnel: return await checker.run(check, by: .direct(server), deadline: timeout)
        default: return await checker.run(check, by: way, deadline: timeout)
        }
    }

    /// One question; for many see `ProbeLoop`, which carries out pings and connects.
    public func ask(_ probe: Probe, by way: Way, timeout: Duration) async -> ProbeResult {
        let kind: ProbeLoop.Question.Kind
        switch probe {
        case .ping: kind = .ping
        case .tcp(let port): kind = .tcp(port: port)
        case .check(let check, _): return ProbeResult(await checker.run(check, by: way, deadline: timeout))
        }
        return await withCheckedContinuation { continuation in
            let question = ProbeLoop.Question(id: 0, kind: kind, way: way, timeout: timeout)
            ProbeLoop.shared.ask(
                [question],
                answersTo: ProbeLoop.Inbox { answers in
                    for answer in answers { continuation.resume(returning: answer.result) }
                })
        }
    }
}
