internal import DataPlane
internal import HealthChecks

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
