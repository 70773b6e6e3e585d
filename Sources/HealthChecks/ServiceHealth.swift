public import LoadBalancing

/// The health of a service's real servers, out of their probes' results.
///
/// A real server is out when a probe that it must answer is down. Ports that were learnt from clients count only by
/// comparison: a server is out when a port that had answered on it stops answering there while it answers on another
/// one. (Not simply "answers elsewhere": a client could then take servers out by finding a port that only one of them
/// has open.)
public struct ServiceHealth: Sendable {
    public struct Verdict: Sendable, Equatable {
        public var isUp: Bool
        public var isProven: Bool
        /// Why it is down.
        public var reason: String?
    }

    private var required: Set<Probe>
    private var learnt: Set<Probe> = []
    private let rise: Int
    private let fall: Int
    private var probes: [IPv4Address: [Probe: ProbeHealth]] = [:]
    private var initiallyDown: Set<IPv4Address>

    /// `initiallyDown`: servers that the last daemon had taken out, and that have to prove themselves.
    public init(required: Set<Probe>, rise: Int, fall: Int, initiallyDown: Set<IPv4Address> = []) {
        self.required = required
        self.rise = rise
        self.fall = fall
        self.initiallyDown = initiallyDown
    }

    /// What to ask a server now.
    public var questions: Set<Probe> { required.union(learnt) }

    /// Adds ports that clients were seen to use; at most `limit` in all.
    public mutating func learn(ports: Set<UInt16>, limit: Int = 8) {
        for port in ports.sorted() where learnt.count < limit && !required.contains(.tcp(port: port)) {
            learnt.insert(.tcp(port: port))
        }
    }

    /// True where the next failure, or success, of the probe may change the verdict.
    public func isUndecided(_ probe: Probe, of server: IPv4Address) -> Bool {
        !(probes[server]?[probe]?.isSteadilyUp ?? false)
    }

    public mutating func record(_ result: ProbeResult, of probe: Probe, on server: IPv4Address) {
        let fresh = ProbeHealth(verdict: initiallyDown.contains(server) ? .down : .unproven)
        probes[server, default: [:]][probe, default: fresh].record(result, rise: rise, fall: fall)
        if verdict(of: server).isUp { initiallyDown.remove(server) }
    }

    public func verdict(of server: IPv4Address) -> Verdict {
        let own = probes[server] ?? [:]
        let failed = required.sorted { $0.description < $1.description }.first { own[$0]?.verdict == .down }
        if let failed { return Verdict(isUp: false, isProven: true, reason: own[failed]?.failure) }
        for (probe, health) in own where learnt.contains(probe) && health.verdict == .down && health.hasAnswered {
            let others = probes.filter { $0.key != server }
            if others.contains(where: { $0.value[probe]?.isSteadilyUp ?? false }) {
                return Verdict(isUp: false, isProven: true, reason: health.failure)
            }
        }
        if initiallyDown.contains(server), required.contains(where: { own[$0]?.verdict != .up }) {
            return Verdict(isUp: false, isProven: false, reason: "was down when this daemon took over")
        }
        let isProven = !required.isEmpty && required.allSatisfy { own[$0]?.verdict == .up }
        return Verdict(isUp: true, isProven: isProven, reason: nil)
    }
}
