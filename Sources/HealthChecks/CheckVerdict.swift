internal import LoadBalancing

/// The answer to a check.
public enum CheckVerdict: Hashable, Sendable {
    case passed(Pass)
    case failed(Failure)

    public struct Pass: Hashable, Sendable {
        /// From the start to the last byte that mattered.
        public var latency: Duration
        /// The weight that a script or a file asks for, 0 to 65535.
        public var weight: Int?
        /// The largest packet that passes, where that was asked.
        public var pathMTU: Int?
        /// What an operator may want to know all the same.
        public var note: String?

        public init(latency: Duration, weight: Int? = nil, pathMTU: Int? = nil, note: String? = nil) {
            self.latency = latency
            self.weight = weight
            self.pathMTU = pathMTU
            self.note = note?.onOneLine
        }
    }

    public struct Failure: Hashable, Sendable {
        /// How far it came.
        public var stage: CheckStage
        /// What went wrong, as an operator would say it: "connect: timed out after 0.7 s". One line, whatever a server
        /// or a program said.
        public var reason: String
        /// The host itself, or its service, said something: its tunnel works where the check went through it.
        public var hostAnswered: Bool
        /// Of a black hole, the largest packet that passes; of a host that answers nothing, the largest one that a router says
        /// it lets through.
        public var pathMTU: Int?
        /// This machine could not ask, or no longer wanted to know: it says nothing about the real server.
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

    /// The largest packet that passes, as far as it is known.
    public var pathMTU: Int? {
        switch self {
        case .passed(let pass): pass.pathMTU
        case .failed(let failure): failure.pathMTU
        }
    }
}

/// How far a check came; a stalled peer is named by the stage that it stalls.
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
