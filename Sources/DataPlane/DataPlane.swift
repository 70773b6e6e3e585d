public import Addresses
public import LoadBalancing
public import Netlink

/// What forwards the clients' packets, as the director speaks to it. It decides nothing about real servers: it has the
/// services and weights that it was given last. Owned by one actor.
public protocol DataPlane: AnyObject {
    // MARK: Life

    /// Has packets come in. Before that no packet of the machine is touched; an earlier data plane that was taken over goes on
    /// with its services, by its own program or by one that reads a newer layout. May be called again after a failure.
    func startForwarding() throws

    /// Ends a start, once the services are in force: gives up what an earlier director had and this one does not want.
    func completeStart() throws

    /// Makes room for what is wanted instead of what there is, with the services as they are. To go back, it is called
    /// with what was wanted before.
    func prepare(for demand: DataPlaneDemand) throws

    /// Ends a change for which `prepare(for:)` was called: gives up what is no longer wanted.
    func completeChange() throws

    // MARK: Services

    /// Makes the services these, and no others. Connections of a real server that is no longer named go on as
    /// `ServerRemoval` says.
    func apply(_ services: [VirtualService]) throws

    /// Makes services that are there already so. One that is refused keeps no other from following; its error is thrown
    /// when all others have followed.
    func update(_ services: [VirtualService]) throws

    func snapshot() throws -> DataPlaneSnapshot

    func setLimits(_ limits: DataPlaneLimits)

    // MARK: Real servers

    /// The addresses of all real servers that something is kept for, also of removed ones whose connections go on.
    var serverAddresses: Set<IPAddress> { get }

    /// The connections of a real server; nil where there is no such server.
    func load(of member: ServiceMember) -> (active: UInt32, inactive: UInt32)?

    /// Real servers to which at least so many SYNs in a row were sent and no handshake completed, and how many.
    func unansweredSYNs(atLeast least: UInt32) -> [ServiceMember: UInt32]

    func unansweredSYNs(of member: ServiceMember) -> UInt32

    /// Ports of any-port services on which clients' handshakes completed, the most recent first.
    func learntPorts() throws -> [ServiceAddress: [UInt16]]

    /// Forgets ports that nobody answers, until a client's handshake completes there again.
    func forgetLearntPorts(_ ports: Set<UInt16>, of service: ServiceAddress) throws

    /// The ports that have answered checks on a service's real servers; kept for the next director.
    func answeredPorts(of service: ServiceAddress) throws -> [IPAddress: Set<UInt16>]

    /// Nothing happens where there is no such real server.
    func setAnsweredPorts(_ ports: Set<UInt16>, of member: ServiceMember) throws

    // MARK: Next hops

    /// How a real server is reached now; nil: it is not.
    func route(to server: IPAddress) -> ServerRoute?

    /// Says how a real server is reached, and which link the route names; nil: there is no way now. Returns why packets
    /// cannot go that way, where they cannot: then there is no way.
    func setRoute(_ route: ServerRoute?, by link: Link?, to server: IPAddress) throws -> String?

    /// Follows the routes as they were set last, with what depends on them, such as where answers to checks come in.
    func followRoutes()

    /// Whether packets of this flow go to this real server: it is recorded so, or may go on without a record.
    func mayHaveSent(_ flow: FlowEnds, to server: IPAddress) throws -> Bool

    // MARK: Interfaces

    /// The interfaces by which clients' packets come in, in the order of the configuration.
    var interfaces: [Link] { get }

    /// Returns the names of `interfaces` for the log, as "eth0 (XDP native)".
    func describedInterfaces() throws -> [String]

    func interfaceReport() throws -> InterfaceReport

    /// Follows the state of the interfaces. Returns those that have their carrier back.
    func followInterfaces() throws -> [Link]

    /// Takes an interface that was made anew under its old name. Returns whether there was one.
    func rejoinInterfaces() throws -> Bool

    /// The names of the interfaces where the VIP's packets would come in, if these are none of `interfaces`.
    func otherInterfaces(for vip: IPAddress) throws -> [String]?

    /// A device of the data plane's own on which a VIP may stay while it is moved.
    var refuge: Link? { get }

    /// Packets for services that came in past the data plane.
    func strayPackets() throws -> [StrayPlace: StrayPackets]

    // MARK: Checks

    /// By which socket a check reaches a real server as clients' packets do; nil: there is none.
    func checkSocket(for member: ServiceMember) -> CheckSocket?

    /// The packets of a real server's checks through the tunnel, as counted where only the machine's own packet filters are
    /// between the count and the checks' sockets; nil: they are not counted. `begins`: a question is about to go out, from which
    /// on they are.
    func checkTraffic(of member: ServiceMember, by transport: CheckTransport, begins: Bool) -> CheckTraffic?

    /// Looks for all that checks go through; false where something is missing, or cannot be looked at. What takes long is read
    /// off the owner's actor, which goes on meanwhile.
    func isCheckPathWhole() async -> Bool

    /// Puts back what checks go through, where somebody took it away.
    func repairCheckPath() -> Repairs

    // MARK: Housekeeping

    /// Puts back what somebody took away of all that the data plane has in the machine.
    func repair() -> [Repairs]

    /// Puts back what outlives the director, before something is made that takes it over.
    func repairStored() -> Repairs

    /// Frees expired flows for about that time, in a pass over all of them that goes on where the last call stopped.
    func sweep(for time: Duration) throws

    /// Whether a pass that began then or later is complete: what had expired by then is gone.
    func isSwept(since start: ContinuousClock.Instant) -> Bool

    /// Whether half-open connections that died with the real server may still count as its own, when it comes back at
    /// `end`.
    func mayHoldAbandoned(_ member: ServiceMember, until end: ContinuousClock.Instant) -> Bool

    /// How full the tables are.
    var tableUse: [(name: String, size: Int, used: Int)] { get }
}
