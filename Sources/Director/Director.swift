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
    let configuration: DirectorConfiguration
    let instance: InstancePaths
    let logger: Logger
    let prober = Prober(group: MultiThreadedEventLoopGroup.singleton)
    var running: Running?
    var health: [ServiceAddress: ServiceHealth] = [:]
    var states: [Target: State] = [:]
    /// Being checked out of turn.
    var underSuspicion: Set<Target> = []
    /// Real servers to which there is no way, and why.
    var unreachable: [IPv4Address: String] = [:]

    /// What a start makes and a stop takes away.
    struct Running {
        var dataPlane: XDPDataPlane
        var journal: ChangeJournal
        var ingress: Link
        var paths: PathFinder
        var checkDevice: CheckDevice
        var listening: Set<Int32> = []
        var isForwarding = false
    }

    /// SYNs in a row without a completed handshake that make a real server silent. At 30 % loss of a healthy one's
    /// answers four in a row are one in a hundred, and they have to fill half a second besides.
    static let silentAfter: UInt32 = 4
    /// So many trigger a check at once.
    static let suspiciousAfter: UInt32 = 2

    struct Target: Hashable {
        var service: ServiceAddress
        var server: IPv4Address
    }

    struct State {
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
    func start(journal: ChangeJournal) async throws {
        guard let vip = configuration.services.first?.address.vip else { return }
        let ingress = try PathFinder.ingress(named: configuration.interface, vip: vip)
        let isVeth = ingress.kind == "veth"
        let (directory, _, note) = try instance.bpfDirectory(journal: journal)
        if let note { logger.warning("\(note)") }
        let modes = try Self.attachModes(configuration, ingress: ingress, directory: directory)
        for pin in XDPDataPlane.pins(directory: directory) { try journal.make(.pin(path: pin)) {} }
        let link = XDPDataPlane.linkPin(directory: directory, interface: ingress.index)
        try journal.make(.attachment(path: link)) {}
        let dataPlane = try XDPDataPlane(
            directory: directory,
            capacity: Capacity(connections: configuration.connections, services: desiredServices),
            answersByRedirect: isVeth)
        let adopted = try dataPlane.snapshot()
        let device = try CheckDevice(
            directory: directory, journal: journal, checks: configuration.checks.kind != .none)
        running = Running(
            dataPlane: dataPlane, journal: journal, ingress: ingress,
            paths: try PathFinder(journal: journal, transmitting: isVeth ? nil : ingress.index), checkDevice: device)
        try takeOverHealth(from: adopted)
        dataPlane.setIngressMTU(ingress.mtu)
        if let mac = device.link.address { try dataPlane.setFragmenting(interface: device.peer.index, peer: mac) }
        dataPlane.setTimeouts(configuration.timeouts)
        dataPlane.setHalfOpenLimit(configuration.halfOpenLimit.map(UInt32.init) ?? dataPlane.defaultHalfOpenLimit)
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
        try dropWhatIsNoLongerWanted(journal, attachment: link)
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
    static func attachModes(
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

    func attach(_ dataPlane: XDPDataPlane, ingress: Link, modes: [XDPMode]) throws {
        for (index, mode) in modes.enumerated() {
            do {
                try dataPlane.attach(interface: ingress.index, mode: mode)
                try dataPlane.publish()
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
    func dropWhatIsNoLongerWanted(_ journal: ChangeJournal, attachment: String) throws {
        let pin = attachment.split(separator: "/").last
        for change in journal.changes.reversed() {
            switch change {
            case .attachment(let path):
                if path.split(separator: "/").last != pin { try journal.undo(change) }
            case .filter, .qdisc:
                if running?.checkDevice.takesChecks == false { try journal.undo(change) }
            default: continue
            }
        }
    }

    /// Puts the VIPs on the interface, and takes off those that an earlier configuration had put there.
    func placeAddresses(journal: ChangeJournal, ingress: Link) throws {
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
    func announce() {
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

    static func undo(_ journal: ChangeJournal, instance: InstancePaths, logger: Logger) -> Bool {
        let complete = journal.undoAll { change, failure in
            if let failure { logger.error("remove \(change): \(failure)") } else { logger.info("removed \(change)") }
        }
        // Whoever made the directory that instances share, the last one to leave removes it.
        instance.removeBPFDirectoryIfEmpty()
        return complete
    }
}
