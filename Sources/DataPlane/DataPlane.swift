public import Addresses
public import LoadBalancing
public import Netlink

/// The part of a director that forwards clients' packets. It decides nothing about real servers, and has the services
/// and weights that it was last given. One actor owns it.
public protocol DataPlane: AnyObject {
    // MARK: Life

    /// Begins to forward. Before the call, no packet of the machine is touched, except that an adopted data plane goes
    /// on with its services. May be called again after an error.
    func startForwarding() throws

    /// Ends a start, once the services are in force. Removes an earlier director's changes that are no longer needed.
    func completeStart() throws

    /// Makes room for another demand, and keeps the present services. A call with the former demand takes the change
    /// back.
    func prepare(for demand: DataPlaneDemand) throws

    /// Ends a change that `prepare(for:)` began. Removes the changes of the machine that are no longer needed.
    func completeChange() throws

    // MARK: Services

    /// Replaces all services. Connections of a removed real server go on as `ServerRemoval` says.
    func apply(_ services: [VirtualService]) throws

    /// Updates services that the data plane has already. A refused service does not keep the others from their update.
    /// The first error is thrown at the end.
    func update(_ services: [VirtualService]) throws

    func snapshot() throws -> DataPlaneSnapshot

    func setLimits(_ limits: DataPlaneLimits)

    // MARK: Real servers

    /// The addresses of all real servers that have a row. A removed real server keeps its row while its connections go
    /// on.
    var serverAddresses: Set<IPAddress> { get }

    /// Returns the numbers of connections of a real server; nil where the service has no such server.
    func load(of member: ServiceMember) -> (active: UInt32, inactive: UInt32)?

    /// Returns the number of unanswered SYNs in a row of each real server that has at least `least` of them.
    func unansweredSYNs(atLeast least: UInt32) -> [ServiceMember: UInt32]

    func unansweredSYNs(of member: ServiceMember) -> UInt32

    /// Returns the ports of any-port services on which clients' handshakes completed, the most recent first.
    func learntPorts() throws -> [ServiceAddress: [UInt16]]

    /// Removes learnt ports that do not answer, until another handshake of a client completes on such a port.
    func forgetLearntPorts(_ ports: Set<UInt16>, of service: ServiceAddress) throws

    /// Returns the ports that have answered checks, by real server of the service. The data plane keeps them for the
    /// next daemon.
    func answeredPorts(of service: ServiceAddress) throws -> [IPAddress: Set<UInt16>]

    /// Sets the ports that have answered checks on the real server. Does nothing where there is no such real server.
    func setAnsweredPorts(_ ports: Set<UInt16>, of member: ServiceMember) throws

    // MARK: Next hops

    /// Returns the route to a real server; nil while the server has none.
    func route(to server: IPAddress) -> ServerRoute?

    /// Sets the route to a real server, with the route's link. Nil takes the server's route away. Where packets cannot
    /// take the route, the server gets none, and the reason is returned.
    func setRoute(_ route: ServerRoute?, by link: Link?, to server: IPAddress) throws -> String?

    /// Updates the parts that depend on the routes, such as the interfaces for answers to checks.
    func followRoutes()

    /// Returns whether this real server may have received packets of this flow. The flow is recorded with this server,
    /// or may exist without a record.
    func mayHaveSent(_ flow: FlowEnds, to server: IPAddress) throws -> Bool

    // MARK: Interfaces

    /// The interfaces by which clients' packets come in, in the order of the configuration.
    var interfaces: [Link] { get }

    /// Returns the names of `interfaces` for the log, as "eth0 (XDP native)".
    func describedInterfaces() throws -> [String]

    func interfaceReport() throws -> InterfaceReport

    /// Updates the state of the interfaces. Returns the interfaces that have regained their carrier.
    func followInterfaces() throws -> [Link]

    /// Follows interfaces that were made anew under their old names, and changes of the devices that an interface
    /// consists of. Attaches the program where it is missing. Returns whether an interface was made anew or got the
    /// program.
    func rejoinInterfaces() throws -> Bool

    /// Returns the names of the interfaces by which the VIP's packets would come in. Nil: one of `interfaces` is among
    /// them.
    func otherInterfaces(for vip: IPAddress) throws -> [String]?

    /// The data plane's own device on which a VIP may stay while it is moved; nil: there is none.
    var refuge: Link? { get }

    /// Returns the packets for services that came in past the data plane.
    func strayPackets() throws -> [StrayPlace: StrayPackets]

    // MARK: Checks

    /// Returns the settings of a socket whose check takes the clients' path to the real server; nil where there is no
    /// such path.
    func checkSocket(for member: ServiceMember) -> CheckSocket?

    /// Returns the counts of a real server's checks through the tunnel; nil where these checks are not counted. Between
    /// the counting and the checks' sockets there are only the machine's own packet filters. `begins` says that a check
    /// is about to be sent, so that counting has to begin.
    func checkTraffic(of member: ServiceMember, by transport: CheckTransport, begins: Bool) -> CheckTraffic?

    /// Returns whether the check path is whole. False where a part is missing or cannot be read. Slow reads do not
    /// block the owner's actor.
    func isCheckPathWhole() async -> Bool

    /// Restores the missing parts of the check path.
    func repairCheckPath() -> Repairs

    // MARK: Housekeeping

    /// Restores all missing changes of the machine that the data plane needs.
    func repair() -> [Repairs]

    /// Restores the missing pins, before another data plane adopts them.
    func repairStored() -> Repairs

    /// Frees expired flows, for about `time`. The pass over all flows continues where the last call stopped.
    func sweep(for time: Duration) throws

    /// Returns whether a pass that began at `start` or later is complete. Then all entries that had expired at `start`
    /// are freed.
    func isSwept(since start: ContinuousClock.Instant) -> Bool

    /// Returns whether a dead real server's half-open connections may still count against it when it comes back at
    /// `end`.
    func mayHoldAbandoned(_ member: ServiceMember, until end: ContinuousClock.Instant) -> Bool

    /// The size and the used rows of each table.
    var tableUse: [(name: String, size: Int, used: Int)] { get }
}
