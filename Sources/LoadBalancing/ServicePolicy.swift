public import Addresses

/// How a service takes its real servers out and back.
public struct ServicePolicy: Hashable, Sendable {
    /// A real server that is down gets weight 0, instead of being taken out: its connections go on.
    public var inhibits: Bool
    /// A real server that comes back, or is new, has its whole share after so long; nil: at once.
    public var slowStart: Duration?
    /// The half-life of what is held against a real server that falls again and again; nil: nothing is.
    public var flapDamping: Duration?
    public var quorum: Quorum.Rule
    /// Serves while the quorum is lost. It is not checked.
    public var sorryServer: IPAddress?

    public init(
        inhibits: Bool = false, slowStart: Duration? = nil, flapDamping: Duration? = nil,
        quorum: Quorum.Rule = Quorum.Rule(), sorryServer: IPAddress? = nil
    ) {
        self.inhibits = inhibits
        self.slowStart = slowStart
        self.flapDamping = flapDamping
        self.quorum = quorum
        self.sorryServer = sorryServer
    }
}
