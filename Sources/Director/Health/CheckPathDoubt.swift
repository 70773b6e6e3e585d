internal import DataPlane
internal import HealthChecks
internal import LoadBalancing

/// Why a failed check says nothing about the real server: its packets did not get through this machine itself. Counts of
/// the data plane prove that. That clients complete handshakes does not, as anybody may feign those.
enum CheckPathDoubt: Hashable, CustomStringConvertible {
    /// The socket sent a question that did not leave by the check device.
    case questionLost
    /// An answer came in on the check device that the socket did not get.
    case answerLost

    /// Nil when the counts from before the question and after the failure prove nothing. `isShared`: other checks of the real
    /// server are counted with this one, so that an answer may have been theirs. The counts wrap around.
    init?(from before: CheckTraffic, to after: CheckTraffic, _ failure: CheckVerdict.Failure, isShared: Bool) {
        if after.sent == before.sent {
            self = .questionLost
        } else if failure.hostAnswered || Int32(bitPattern: after.answered &- before.answered) <= 0 {
            return nil
        } else if let heard = after.heard {
            // What a socket acknowledged, it got.
            guard heard != after.answered else { return nil }
            self = .answerLost
        } else {
            guard !isShared else { return nil }
            self = .answerLost
        }
    }

    var description: String {
        switch self {
        case .questionLost: "this machine drops its packets before they leave; 'ipvsd doctor' looks for the filter"
        case .answerLost: "an answer comes in, and this machine drops it; 'ipvsd doctor' looks for the filter"
        }
    }
}

extension Check {
    /// What the data plane counts the check under; nil: it is not counted.
    var transport: CheckTransport? {
        switch self {
        case .echo: .echo
        case .tcp(let check): .tcp(port: check.port)
        case .tls(let check): .tcp(port: check.port)
        case .http(let check): .tcp(port: check.port)
        case .grpc(let check): .tcp(port: check.port)
        case .smtp(let check): .tcp(port: check.port)
        case .dns(let check): check.transport == .tcp ? .tcp(port: check.port) : .udp(port: check.port)
        case .udp(let check): .udp(port: check.port)
        case .mtu, .script, .file: nil
        }
    }
}

/// What it takes to doubt a failed check: what had been counted before each question that is out, and the services of which
/// checks last failed by this machine's own fault. It reads no clock.
struct CheckDoubts {
    typealias Instant = ContinuousClock.Instant

    /// A question that is out. A round may have one in its turn and one out of turn at the same time.
    struct Question: Hashable {
        var round: Int
        var isOutOfTurn = false
    }

    /// The event of a service is told once in this time.
    private static let pause = Duration.seconds(60)

    private var before: [Question: CheckTraffic] = [:]
    /// The rounds in doubt of each service that has some.
    private var rounds: [ServiceAddress: Set<Int>] = [:]
    private var published: [ServiceAddress: Instant] = [:]
    /// Packets with a wrong checksum, as the kernel had counted them at the last doubt.
    private var checksumErrors: UInt64?

    // MARK: Questions

    /// Notes what had been counted before the question goes out; nil: nothing is known.
    mutating func begin(_ question: Question, before traffic: CheckTraffic?) { before[question] = traffic }

    /// Returns what had been counted before the question, which has been answered now.
    mutating func end(_ question: Question) -> CheckTraffic? { before.removeValue(forKey: question) }

    // MARK: Doubts

    /// Returns whether the kernel has counted packets with a wrong checksum since the last call: then an answer that was
    /// dropped may have been one of them, which is not this machine's fault. `count`: since the kernel began; nil: unknown.
    mutating func hasChecksumErrors(_ count: UInt64?) -> Bool {
        defer { checksumErrors = count }
        guard let count, let checksumErrors else { return false }
        return count > checksumErrors
    }

    /// Notes that a check of these services failed by this machine's own fault. Returns those of which that is to be told.
    mutating func note(_ round: Int, of services: Set<ServiceAddress>, at now: Instant) -> [ServiceAddress] {
        var news: [ServiceAddress] = []
        for service in services {
            let isNew = rounds[service] == nil
            rounds[service, default: []].insert(round)
            if isNew, published[service].map({ $0.duration(to: now) >= Self.pause }) ?? true {
                published[service] = now
                news.append(service)
            }
        }
        return news.sorted { $0.description < $1.description }
    }

    /// Notes that a check of these services has been judged again.
    mutating func dispel(_ round: Int, of services: some Sequence<ServiceAddress>) {
        guard !rounds.isEmpty else { return }
        for service in services {
            rounds[service]?.remove(round)
            if rounds[service]?.isEmpty == true { rounds[service] = nil }
        }
    }

    /// Forgets rounds that are no longer asked. Their ids are not used again.
    mutating func forget(_ gone: Set<Int>) {
        guard !gone.isEmpty else { return }
        before = before.filter { !gone.contains($0.key.round) }
        rounds = rounds.mapValues { $0.subtracting(gone) }.filter { !$0.value.isEmpty }
    }

    /// Forgets services that are no longer configured.
    mutating func keep(_ isConfigured: (ServiceAddress) -> Bool) {
        published = published.filter { isConfigured($0.key) }
    }
}
