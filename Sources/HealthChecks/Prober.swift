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
            async let beside = verdict(of: check, by: .direct(server), timeout: timeout)
            let through = await verdict(of: check, by: way, timeout: timeout)
            return BothWays.verdict(tunnel: through, direct: await beside, server: server)
        case .direct where way.isTunnel: return await verdict(of: check, by: .direct(server), timeout: timeout)
        default: return await verdict(of: check, by: way, timeout: timeout)
        }
    }

    /// Connects and echoes need none of NIO's channels.
    private func verdict(of check: Check, by way: Way, timeout: Duration) async -> CheckVerdict {
        switch check {
        case .tcp(let check):
            await ask(.tcp(port: check.port), by: way, timeout: timeout).verdict(at: .connect)
        case .echo: await ask(ProbeLoop.Question.Kind.ping, by: way, timeout: timeout).verdict(at: .answer)
        default: await checker.run(check, by: way, deadline: timeout)
        }
    }

    /// One question; for many see `ProbeLoop`, which carries out pings and connects. Nil where this machine could not ask.
    public func ask(_ probe: Probe, by way: Way, timeout: Duration) async -> ProbeResult? {
        switch probe {
        case .ping: await ask(ProbeLoop.Question.Kind.ping, by: way, timeout: timeout).result
        case .tcp(let port): await ask(.tcp(port: port), by: way, timeout: timeout).result
        case .check(let check, _): ProbeResult(await verdict(of: check, by: way, timeout: timeout))
        }
    }

    private func ask(_ kind: ProbeLoop.Question.Kind, by way: Way, timeout: Duration) async -> ProbeLoop.Answer {
        await withCheckedContinuation { continuation in
            let question = ProbeLoop.Question(id: 0, kind: kind, way: way, timeout: timeout)
            ProbeLoop.shared.ask(
                [question],
                answersTo: ProbeLoop.Inbox { answers in
                    for answer in answers { continuation.resume(returning: answer) }
                })
        }
    }
}
