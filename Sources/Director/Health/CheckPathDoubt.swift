internal import DataPlane
internal import HealthChecks
internal import LoadBalancing

/// The proof that a check failed by this machine's own fault, as its packets did not get through this machine. The
/// proof comes from packet counts of the data plane. Completed handshakes of clients prove nothing, as anybody can
/// feign them.
enum CheckPathDoubt: Hashable, CustomStringConvertible {
    /// The socket sent a packet that did not leave by the check device.
    case questionLost
    /// An answer arrived on the check device, but not at the socket.
    case answerLost

    /// Creates a doubt from the counts before the question and after the failure, or nil where the counts prove
    /// nothing. `isShared` says that the counts include other checks of the real server, so that an answer may belong
    /// to them. The counts wrap around.
    init?(from before: CheckTraffic, to after: CheckTraffic, _ failure: CheckVerdict.Failure, isShared: Bool) {
        if after.sent == before.sent {
            self = .questionLost
        } else if failure.hostAnswered || Int32(bitPattern: after.answered &- before.answered) <= 0 {
            return nil
        } else if let heard = after.heard {
            // A segment that a socket has acknowledged has arrived at the socket.
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
    /// The key of the data plane's packet counts for the check, or nil where the check is not counted.
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

/// The packet counts from before open questions, and the services with checks that last failed by this machine's own
/// fault. The type has no clock: the caller passes the time.
struct CheckDoubts {
    typealias Instant = ContinuousClock.Instant

    /// An open question. A round may have a question in its turn and a question out of turn at the same time.
    struct Question: Hashable {
        var round: Int
        var isOutOfTurn = false
    }

    /// The least time between two check-path-in-doubt events of a service.
    private static let pause = Duration.seconds(60)

    /// The packet counts from before each open question.
    private var before: [Question: CheckTraffic] = [:]
    /// The ids of the rounds in doubt, for each service that has such rounds.
    private var rounds: [ServiceAddress: Set<Int>] = [:]
    /// The time of each service's last event.
    private var published: [ServiceAddress: Instant] = [:]
    /// The kernel's count of packets with a wrong checksum at the last doubt.
    private var checksumErrors: UInt64?

    // MARK: Questions

    /// Notes an open question, with the packet counts from before it. The counts are nil if the check's packets are not
    /// counted.
    mutating func begin(_ question: Question, before traffic: CheckTraffic?) { before[question] = traffic }

    /// Removes an answered question. Returns the counts from before the question.
    mutating func end(_ question: Question) -> CheckTraffic? { before.removeValue(forKey: question) }

    // MARK: Doubts

    /// Returns whether the kernel has counted packets with a wrong checksum since the last call. A dropped answer may
    /// have been such a packet, which is not this machine's fault. `count` is the kernel's total, or nil where it is
    /// unknown.
    mutating func hasChecksumErrors(_ count: UInt64?) -> Bool {
        defer { checksumErrors = count }
        guard let count, let checksumErrors else { return false }
        return count > checksumErrors
    }

    /// Notes that a check of these services failed by this machine's own fault. Returns the services for which an event
    /// is to be published.
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

    /// Notes that a check of these services has a result again.
    mutating func dispel(_ round: Int, of services: some Sequence<ServiceAddress>) {
        guard !rounds.isEmpty else { return }
        for service in services {
            rounds[service]?.remove(round)
            if rounds[service]?.isEmpty == true { rounds[service] = nil }
        }
    }

    /// Forgets removed rounds. Their ids are not used again.
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
