internal import LoadBalancing

/// The answer to a check: passed or failed.
public enum CheckVerdict: Hashable, Sendable {
    case passed(Pass)
    case failed(Failure)

    public struct Pass: Hashable, Sendable {
        /// The time from the start of the check to the last byte that decided.
        public var latency: Duration
        /// The weight that a script or a file requested, 0 to 65535.
        public var weight: Int?
        /// The largest packet that passes, in bytes. Only MTU checks set it.
        public var pathMTU: Int?
        /// A remark for the operator on a check that passed, such as a failure on the direct way.
        public var note: String?

        public init(latency: Duration, weight: Int? = nil, pathMTU: Int? = nil, note: String? = nil) {
            self.latency = latency
            self.weight = weight
            self.pathMTU = pathMTU
            self.note = note?.onOneLine
        }
    }

    public struct Failure: Hashable, Sendable {
        /// The stage in which the check failed.
        public var stage: CheckStage
        /// The reason in an operator's words, such as "connect: timed out after 0.7 s". It is one line: `onOneLine`
        /// escapes control characters in the texts of servers and programs.
        public var reason: String
        /// Whether the host or its service sent any answer. After a check through the tunnel, this proves that the
        /// tunnel works.
        public var hostAnswered: Bool
        /// The largest packet that passes, in bytes, or nil if it is unknown. For a black hole, the check has measured
        /// it. For a host without any answer, it is the smallest MTU that a router reported.
        public var pathMTU: Int?
        /// Whether the cause is this machine, which lacked a resource or cancelled the check. The failure then proves
        /// nothing about the real server.
        public var isOwn: Bool

        public init(
            stage: CheckStage, reason: String, hostAnswered: Bool = false, pathMTU: Int? = nil, isOwn: Bool = false
        ) {
            self.stage = stage
            self.reason = reason.onOneLine
            self.hostAnswered = hostAnswered
            self.pathMTU = pathMTU
            self.isOwn = isOwn
        }
    }

    static let cancelled = "cancelled"

    public var isPassed: Bool { if case .passed = self { true } else { false } }

    /// The largest packet that passes, in bytes, or nil if it is unknown.
    public var pathMTU: Int? {
        switch self {
        case .passed(let pass): pass.pathMTU
        case .failed(let failure): failure.pathMTU
        }
    }
}

/// A stage of a check. The reason of a time-out names the stage in which the check waited for the peer.
public enum CheckStage: String, Hashable, Sendable, CaseIterable, CustomStringConvertible {
    case start
    case connect
    case handshake = "TLS handshake"
    case certificate
    case greeting
    case hello = "HELO"
    case quit = "QUIT"
    case answer
    case headers
    case body
    case bodyMatch = "body match"
    case trailers
    case run
    case read

    public var description: String { rawValue }
}

extension CheckVerdict.Failure: CustomStringConvertible {
    public var description: String { reason }
}
