internal import BPF
internal import CLinux
internal import DataPlane
internal import FoundationEssentials
internal import Glibc
internal import HealthChecks
public import HostState
internal import LoadBalancing
public import Logging
internal import NIOPosix
internal import Netlink
public import ServiceConfiguration

/// The running director: what is configured, what health says and what routes say become one desired state, which
/// the data plane is made to have.
public actor Director {
    private let configuration: DirectorConfiguration
    private let instance: InstancePaths
    private let logger: Logger
    private let prober = Prober(group: MultiThreadedEventLoopGroup.singleton)
    private var running: Running?
    private var health: [ServiceAddress: ServiceHealth] = [:]
    private var states: [Target: State] = [:]
    /// Being checked out of turn.
    private var underSuspicion: Set<Target> = []
    /// Real servers to which there is no way, and why.
    private var unreachable: [IPv4Address: String] = [:]

    /// What a start makes and a stop takes away.
    private struct Running {
        var dataPlane: XDPDataPlane
        var journal: ChangeJournal
        var ingress: Link
        var paths: PathFinder
        var checkDevice: CheckDevice?
        var listening: Set<Int32> = []
        var isForwarding = false
    }

    /// SYNs in a row without a completed handshake that make a real server silent. At 30 % loss of a healthy one's
    /// answers four in a row are one in a hundred, and they have to fill half a second besides.
    private static let silentAfter: UInt32 = 4
    /// So many trigger a check at once.
    private static let suspiciousAfter: UInt32 = 2

    private struct Target: Hashable {
        var service: ServiceAddress
        var server: IPv4Address
    }

    private struct State {
        var isUp: Bool
        var since: Date
        var reason: String?
    }

    public init(configuration: DirectorConfiguration, instance: InstancePaths, logger: Logger) {
        self.configuration = configuration
        self.instance = instance
        self.logger = logger
    }

    // MARK: Start and stop

    /// Puts everything in place, or takes over what the last daemon left. A failure leaves the machine as it was.
    public func start() async throws {
        guard clinux_effective_capabilities() >> 12 & 1 == 1 else {
            throw DirectorError(.noPrivilege, "run as a director: CAP_NET_ADMIN is missing; start it as root")
        }
        silenceLibbpf()
        let journal: ChangeJournal
        do { journal = try ChangeJournal(path: instance.journal) } catch { throw DirectorError(error) }
        let inherited = journal.changes
        do {
            try await start(journal: journal)
        } catch {
            running = nil
            _ = journal.undoAll(except: inherited) { change, failure in
                if let failure { logger.error("undo \(change): \(failure)") }
            }
            throw DirectorError(error)
        }
    }

    /// In the order of what may fail: the services of a data plane that is taken over change last.
    private func start(journal: ChangeJournal) async throws {
        guard let vip = configuration.services.first?.address.vip else { return }
        let ingress = try PathFinder.ingress(named: configuration.interface, vip: vip)
        let isVeth = ingress.kind == "veth"
        let (directory, _, note) = try instance.bpfDirectory(journal: journal)
        if let note { logger.warning("\(note)") }
        let modes = try Self.attachModes(configuration, ingress: ingress, directory: directory)
        for pin in XDPDataPlane.pins(directory: directory, interface: ingress.index) {
            try journal.make(.file(path: pin)) {}
        }
        let dataPlane = try XDPDataPlane(directory: directory, answersByRedirect: isVeth)
        let adopted = try dataPlane.snapshot()
        var device: CheckDevice?
        if configuration.checks.kind != .none { device = try CheckDevice(directory: directory, journal: journal) }
        running = Running(
            dataPlane: dataPlane, journal: journal, ingress: ingress,
            paths: try PathFinder(journal: journal, transmitting: isVeth ? nil : ingress.index), checkDevice: device)
        try takeOverHealth(from: adopted)
        dataPlane.setIngressMTU(ingress.mtu)
        dataPlane.setSilentAfter(configuration.watchesSYNs ? Self.silentAfter : 0)
        do {
            if !adopted.services.isEmpty { try attach(dataPlane, ingress: ingress, modes: modes) }
            try applyServices()
        } catch {
            // The old services go on, by the old program or the new one.
            if !adopted.services.isEmpty { try? dataPlane.apply(adopted.services.map(DesiredService.init)) }
            throw error
        }
        try refreshPaths()
        // A first packet would otherwise be lost to an ARP that is still out.
        let deadline = ContinuousClock.now + .milliseconds(300)
        while try dataPlane.snapshot().services.contains(where: { $0.servers.contains { !$0.hasNextHop } }),
            ContinuousClock.now < deadline
        {
            try await Task.sleep(for: .milliseconds(10))
            try refreshPaths()
        }
        if adopted.services.isEmpty { try attach(dataPlane, ingress: ingress, modes: modes) }
        try refreshPaths()
        try dropWhatIsNoLongerWanted(journal, ingress: ingress, directory: directory)
        try placeAddresses(journal: journal, ingress: ingress)
        announce()
        running?.isForwarding = true
        let names = configuration.services.map(\.address.description).joined(separator: ", ")
        let xdp = try XDPAttachment.of(interface: ingress.index)?.mode.rawValue ?? "off"
        logger.notice(
            "\(adopted.services.isEmpty ? "" : "took over, ")forwarding \(names) on \(ingress.name) (XDP \(xdp))")
    }

    /// What a start would fail for, without changing anything: asked before a running daemon is told to go.
    public static func preflight(_ configuration: DirectorConfiguration, instance: InstancePaths) throws {
        silenceLibbpf()
        do {
            guard let vip = configuration.services.first?.address.vip else { return }
            let ingress = try PathFinder.ingress(named: configuration.interface, vip: vip)
            _ = try attachModes(configuration, ingress: ingress, directory: instance.existingBPFDirectory() ?? "")
            try XDPDataPlane.tryLoading()
        } catch {
            throw DirectorError(error)
        }
    }

    /// The modes to attach in, the preferred first; refuses where another program sits.
    private static func attachModes(
        _ configuration: DirectorConfiguration, ingress: Link, directory: String
    ) throws -> [XDPMode] {
        let present = try XDPAttachment.of(interface: ingress.index)
        if let present,
            try BPFLink(pinnedAt: XDPDataPlane.linkPin(directory: directory, interface: ingress.index))?.interface()
                != UInt32(ingress.index)
        {
            throw DirectorError(
                .interface,
                "attach director to \(ingress.name): Device or resource busy (another XDP program: id "
                    + "\(present.programID))")
        }
        switch configuration.xdp {
        case .native: return [.native]
        case .generic: return [.generic]
        // A veth's generic hook would see merged frames of 64 KB.
        case .auto where ingress.kind == "veth": return [.native]
        case .auto: return present?.mode == .generic ? [.generic] : [.native, .generic]
        }
    }

    private func attach(_ dataPlane: XDPDataPlane, ingress: Link, modes: [XDPMode]) throws {
        for (index, mode) in modes.enumerated() {
            do {
                try dataPlane.attach(interface: ingress.index, mode: mode)
                running?.paths.isNative = mode == .native
                return
            } catch  where error.code == EBUSY || error.code == EEXIST {
                throw DirectorError(.interface, "attach director to \(ingress.name): \(error)")
            } catch  where index + 1 < modes.count {
                logger.warning("\(ingress.name) has no native XDP (\(error)): falling back to generic, which is slower")
            } catch {
                throw DirectorError(.kernel, "attach director to \(ingress.name) in \(mode.rawValue) mode: \(error)")
            }
        }
    }

    /// What the daemon before this one had put elsewhere, or for checks that are now off.
    private func dropWhatIsNoLongerWanted(_ journal: ChangeJournal, ingress: Link, directory: String) throws {
        let pin = XDPDataPlane.linkPin(directory: directory, interface: ingress.index).split(separator: "/").last
        for change in journal.changes.reversed() {
            switch change {
            case .file(let path):
                let name = path.split(separator: "/").last ?? ""
                if name.hasPrefix("link-"), name != pin { try journal.undo(change) }
            case .filter, .qdisc, .link:
                if running?.checkDevice == nil { try journal.undo(change) }
            default: continue
            }
        }
    }

    /// Puts the VIPs on the interface, and takes off those that an earlier configuration had put there.
    private func placeAddresses(journal: ChangeJournal, ingress: Link) throws {
        let vips = Set(configuration.services.map(\.address.vip))
        for change in journal.changes {
            if case .address(let interface, let address, _) = change,
                !configuration.managesAddress || !vips.contains(address) || interface != ingress.name
            {
                try journal.undo(change)
            }
        }
        guard configuration.managesAddress else { return }
        let socket = try RouteSocket()
        let present = Set(try socket.addresses().map(\.address))
        for vip in vips where !present.contains(vip) {
            try journal.make(.address(interface: ingress.name, address: vip, prefixLength: 32)) {
                try socket.addAddress(vip, prefixLength: 32, to: ingress.index)
            }
        }
    }

    /// Gratuitous ARP: neighbours that knew another holder of a VIP learn of this one.
    private func announce() {
        guard let running, configuration.managesAddress, let mac = running.ingress.address else { return }
        for vip in Set(configuration.services.map(\.address.vip)) {
            if clinux_request_arp(running.ingress.index, mac.bytes, vip.bigEndian, vip.bigEndian) != 0 {
                logger.warning("announce \(vip) on \(running.ingress.name): \(String(cString: strerror(errno)))")
            }
        }
    }

    /// Takes everything out of the machine. True if nothing was left.
    public func stop() -> Bool {
        guard let running else { return true }
        self.running = nil
        return Self.undo(running.journal, instance: instance, logger: logger)
    }

    /// Removes what a director left, without one running. Nil where there was nothing.
    public static func cleanup(instance: InstancePaths, logger: Logger) throws -> Bool? {
        let journal = try ChangeJournal(path: instance.journal)
        return journal.changes.isEmpty ? nil : undo(journal, instance: instance, logger: logger)
    }

    private static func undo(_ journal: ChangeJournal, instance: InstancePaths, logger: Logger) -> Bool {
        let complete = journal.undoAll { change, failure in
            if let failure { logger.error("remove \(change): \(failure)") } else { logger.info("removed \(change)") }
        }
        // Whoever made the directory that instances share, the last one to leave removes it.
        instance.removeBPFDirectoryIfEmpty()
        return complete
    }

    // MARK: The desired state

    private func applyServices() throws {
        try running?.dataPlane.apply(
            configuration.services.map { service in
                DesiredService(
                    address: service.address, scheduler: service.scheduler, flags: service.flags,
                    servers: service.servers.map { server in
                        let state = states[Target(service: service.address, server: server.address)]
                        return DesiredService.Server(
                            address: server.address, configuredWeight: server.weight, isDown: state?.isUp == false)
                    })
            })
    }

    /// Follows routes, neighbours and links.
    private func refreshPaths() throws {
        guard let current = running else { return }
        var sources: Set<IPv4Address> = []
        // Removed real servers, too: their connections go on.
        for server in current.dataPlane.serverAddresses.sorted() {
            switch try current.paths.path(to: server) {
            case .found(let path):
                if unreachable.removeValue(forKey: server) != nil { logger.notice("\(server) is reachable again") }
                try current.dataPlane.setPath(path, to: server)
                sources.insert(path.source)
                try listen(on: path.interface)
            case .none(let reason):
                try current.dataPlane.setPath(nil, to: server)
                if unreachable.updateValue(reason, forKey: server) != reason {
                    logger.warning("no way to \(server): \(reason)")
                }
            }
        }
        if sources.count > XDPDataPlane.maximumCheckAddresses, running?.checkDevice != nil {
            logger.error(
                "checks leave from \(sources.count) addresses; answers are taken in for \(XDPDataPlane.maximumCheckAddresses)"
            )
        }
        current.dataPlane.setCheckAddresses(sources.sorted())
        if let link = try RouteSocket().link(index: current.ingress.index) {
            current.dataPlane.setIngressMTU(link.mtu)
            if link.isUp, link.hasCarrier, !current.ingress.hasCarrier { announce() }
            running?.ingress = link
        }
    }

    private func listen(on interface: Int32) throws {
        guard let device = running?.checkDevice, running?.listening.contains(interface) == false else { return }
        guard let link = try RouteSocket().link(index: interface) else { return }
        try device.listen(on: link)
        running?.listening.insert(interface)
    }

    // MARK: Running

    /// Checks, follows the network and sweeps, until cancelled.
    public func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await self.followNetwork() }
            group.addTask { await self.keepHouse() }
            guard configuration.checks.kind != .none else { return }
            if configuration.watchesSYNs { group.addTask { await self.watchSilence() } }
            for service in configuration.services {
                for server in service.servers {
                    group.addTask { await self.watch(Target(service: service.address, server: server.address)) }
                }
            }
        }
    }

    private func followNetwork() async {
        let events: AsyncStream<Void>
        do { events = try NetworkChanges.events() } catch {
            logger.error("\(error): routes and neighbours are followed every second only")
            return
        }
        for await _ in events {
            do { try refreshPaths() } catch { logger.error("follow the network: \(error)") }
            // Bursts become one refresh.
            try? await Task.sleep(for: .milliseconds(20))
        }
    }

    /// Every second; the sweep every fifth.
    private func keepHouse() async {
        var second = 0
        while !Task.isCancelled {
            do {
                try stayAttached()
                try refreshPaths()
                try learnPorts()
                if second % 5 == 0 { try running?.dataPlane.sweep() }
            } catch {
                logger.error("\(error)")
            }
            second += 1
            try? await Task.sleep(for: .seconds(1))
        }
    }

    private func learnPorts() throws {
        guard let dataPlane = running?.dataPlane else { return }
        for (address, ports) in try dataPlane.learntPorts() where isAutomatic(address) {
            // In any order, so that a client who pokes at closed ports all the time cannot keep a real one waiting for ever.
            health[address]?.learn(ports: ports.shuffled())
            if let forgotten = health[address]?.forget() { try dataPlane.forgetLearntPorts(forgotten, of: address) }
        }
    }

    /// The interface may have been made anew under its old name: a driver was reloaded, a container's veth replaced.
    private func stayAttached() throws {
        guard let current = running, let link = try RouteSocket().link(named: current.ingress.name) else { return }
        guard try !current.dataPlane.isAttached(interface: link.index) else { return }
        guard let directory = instance.existingBPFDirectory() else { return }
        logger.warning("the director is no longer attached to \(link.name): attaching it again")
        let pin = XDPDataPlane.linkPin(directory: directory, interface: link.index)
        try current.journal.make(.file(path: pin)) {}
        running?.ingress = link
        running?.paths.transmitting = link.kind == "veth" ? nil : link.index
        running?.listening = []
        try attach(
            current.dataPlane, ingress: link,
            modes: Self.attachModes(configuration, ingress: link, directory: directory))
        try refreshPaths()
        try placeAddresses(journal: current.journal, ingress: link)
        announce()
    }

    /// Checks a real server at once whose clients' SYNs no ACK follows, as often as it takes for a verdict.
    private func watchSilence() async {
        var seen: [Target: UInt32] = [:]
        while !Task.isCancelled {
            for (target, state) in states where state.isUp {
                guard let dataPlane = running?.dataPlane,
                    let id = dataPlane.serverID(service: target.service, server: target.server)
                else { continue }
                let unanswered = dataPlane.unansweredSYNs(server: id)
                let isNews = unanswered >= Self.suspiciousAfter && unanswered != seen[target]
                seen[target] = unanswered
                guard isNews, underSuspicion.insert(target).inserted else { continue }
                Task {
                    for _ in 0..<configuration.checks.fall where states[target]?.isUp == true { await check(target) }
                    underSuspicion.remove(target)
                }
            }
            try? await Task.sleep(for: .milliseconds(100))
        }
    }

    // MARK: Health

    private func isAutomatic(_ address: ServiceAddress) -> Bool {
        configuration.checks.kind == .auto && address.isAnyPort
    }

    private func required(_ address: ServiceAddress) -> Set<Probe> {
        switch configuration.checks.kind {
        case .none: []
        case .ping: [.ping]
        case .tcp(let port): (port ?? address.port).map { [.tcp(port: $0)] } ?? [.ping]
        case .auto: address.transport == .tcp ? [.tcp(port: address.port ?? 0)] : [.ping]
        }
    }

    /// Servers that the last daemon had taken out stay out until they answer.
    private func takeOverHealth(from snapshot: DataPlaneSnapshot) throws {
        for service in configuration.services {
            let adopted = snapshot.services.first { $0.address == service.address }?.servers ?? []
            let down = configuration.checks.kind == .none ? [] : adopted.filter(\.isDown).map(\.address)
            health[service.address] = ServiceHealth(
                required: required(service.address), rise: configuration.checks.rise, fall: configuration.checks.fall,
                initiallyDown: Set(down),
                answered: isAutomatic(service.address)
                    ? try running?.dataPlane.answeredPorts(of: service.address) ?? [:] : [:])
            for server in service.servers {
                let isDown = down.contains(server.address)
                states[Target(service: service.address, server: server.address)] = State(
                    isUp: !isDown, since: Date(), reason: isDown ? "was down when this daemon took over" : nil)
            }
        }
    }

    private func watch(_ target: Target) async {
        let clock = ContinuousClock()
        var next = clock.now
        while !Task.isCancelled {
            await check(target)
            next = max(next.advanced(by: configuration.checks.interval), clock.now)
            try? await clock.sleep(until: next)
        }
    }

    private func check(_ target: Target) async {
        guard let questions = health[target.service]?.questions else { return }
        let way: Prober.Way
        switch tunnel(to: target) {
        case .success(let found): way = found
        case .failure(let none):
            for probe in questions {
                health[target.service]?.record(.failure(none.reason), of: probe, on: target.server)
            }
            settle(target.service)
            return
        }
        let timeout = configuration.checks.timeout
        let prober = prober
        await withTaskGroup(of: (Probe, ProbeResult).self) { group in
            for probe in questions {
                let isUndecided = health[target.service]?.isUndecided(probe, of: target.server) ?? true
                group.addTask {
                    // The question beside it, asked where its answer may soon be news, tells which half is broken.
                    async let direct =
                        isUndecided ? prober.ask(probe, by: .direct(target.server), timeout: timeout) : nil
                    let tunnel = await prober.ask(probe, by: way, timeout: timeout)
                    return (probe, Diagnosis.result(tunnel: tunnel, direct: await direct, server: target.server))
                }
            }
            for await (probe, result) in group {
                record(result, of: probe, on: target)
                if case .failure(_, hostAnswered: false) = result { running?.paths.askAgain(target.server) }
            }
        }
        settle(target.service)
    }

    private func record(_ result: ProbeResult, of probe: Probe, on target: Target) {
        let known = health[target.service]?.answeredPorts(of: target.server)
        health[target.service]?.record(result, of: probe, on: target.server)
        guard let ports = health[target.service]?.answeredPorts(of: target.server), ports != known,
            let dataPlane = running?.dataPlane,
            let id = dataPlane.serverID(service: target.service, server: target.server)
        else { return }
        do { try dataPlane.setAnsweredPorts(ports, of: id) } catch { logger.error("\(error)") }
    }

    private struct NoWay: Error { var reason: String }

    private func tunnel(to target: Target) -> Swift.Result<Prober.Way, NoWay> {
        guard let running, let device = running.checkDevice,
            let id = running.dataPlane.serverID(service: target.service, server: target.server)
        else { return .failure(NoWay(reason: "the director is stopping")) }
        switch Swift.Result(catching: { try running.paths.path(to: target.server) }) {
        case .success(.found(let path)):
            return .success(
                .tunnel(
                    vip: target.service.vip, mark: XDPDataPlane.checkMark(server: id), device: device.link.index,
                    source: path.source))
        case .success(.none(let reason)): return .failure(NoWay(reason: reason))
        case .failure(let error): return .failure(NoWay(reason: "\(error)"))
        }
    }

    /// Makes the data plane follow the verdicts, and says what changed.
    private func settle(_ address: ServiceAddress) {
        guard let service = configuration.services.first(where: { $0.address == address }),
            let health = health[address]
        else { return }
        var changes: [(Target, ServiceHealth.Verdict)] = []
        for server in service.servers {
            let target = Target(service: address, server: server.address)
            let verdict = health.verdict(of: server.address)
            if states[target]?.isUp != verdict.isUp {
                states[target] = State(isUp: verdict.isUp, since: Date(), reason: verdict.reason)
                changes.append((target, verdict))
            } else if !verdict.isUp {
                states[target]?.reason = verdict.reason
            }
        }
        guard !changes.isEmpty else { return }
        do {
            // What a server left half-open when it died must not weigh on it now.
            if changes.contains(where: \.1.isUp) { try running?.dataPlane.sweep() }
            try applyServices()
        } catch {
            logger.error("apply health of \(address): \(error)")
        }
        let up = service.servers.filter { states[Target(service: address, server: $0.address)]?.isUp == true }
        for (target, verdict) in changes {
            let left = "\(up.count) of \(service.servers.count) left"
            if verdict.isUp {
                logger.notice("real server \(target.server) of \(address) is up; \(left)")
            } else {
                logger.warning(
                    "real server \(target.server) of \(address) is down: \(verdict.reason ?? "no reason known"); \(left)"
                )
            }
        }
        if up.isEmpty { logger.critical("no real server is left for \(address): clients get ICMP port unreachable") }
    }

    // MARK: Status

    /// Nil until started.
    public func status() throws -> DirectorStatus? {
        guard let running, running.isForwarding else { return nil }
        var status = DirectorStatus(
            snapshot: try running.dataPlane.snapshot(), pid: getpid(), xdp: try Self.xdp([running.ingress.index]))
        for serviceIndex in status.services.indices {
            let service = status.services[serviceIndex]
            let address = configuration.services.map(\.address).first {
                $0.vip == service.vip && $0.port == service.port && $0.transport == service.protocol
            }
            guard let address else { continue }
            // In the order of the configuration.
            let order = configuration.services.first { $0.address == address }?.servers.map(\.address) ?? []
            status.services[serviceIndex].servers.sort {
                (order.firstIndex(of: $0.address) ?? .max) < (order.firstIndex(of: $1.address) ?? .max)
            }
            for index in service.servers.indices {
                let server = status.services[serviceIndex].servers[index]
                guard server.health != .removed,
                    let state = states[Target(service: address, server: server.address)]
                else { continue }
                let verdict = health[address]?.verdict(of: server.address)
                status.services[serviceIndex].servers[index].since = state.since.formatted(.iso8601)
                status.services[serviceIndex].servers[index].reason = state.reason
                status.services[serviceIndex].servers[index].health =
                    !state.isUp ? .down : verdict?.isProven == true ? .up : .unproven
            }
        }
        return status
    }

    /// What the pinned maps say, without a daemon; nil where there is no data plane.
    public static func pinnedStatus(instance: InstancePaths) throws -> DirectorStatus? {
        silenceLibbpf()
        guard let directory = instance.existingBPFDirectory(),
            let maps = try DirectorMaps(directory: directory, writable: false)
        else { return nil }
        let interfaces = try RouteSocket().links().map(\.index).filter {
            try BPFLink(pinnedAt: XDPDataPlane.linkPin(directory: directory, interface: $0)) != nil
        }
        return DirectorStatus(snapshot: try DataPlaneSnapshot(of: maps), pid: nil, xdp: try xdp(interfaces))
    }

    private static func xdp(_ interfaces: [Int32]) throws -> DirectorStatus.XDP {
        let socket = try RouteSocket()
        let links = try interfaces.compactMap { try socket.link(index: $0) }
        return DirectorStatus.XDP(
            mode: try interfaces.lazy.compactMap { try XDPAttachment.of(interface: $0)?.mode.rawValue }.first,
            interfaces: links.map(\.name),
            transmitErrors: Dictionary(
                links.map { ($0.name, $0.transmitErrors + $0.transmitDropped) }, uniquingKeysWith: { one, _ in one }))
    }
}
