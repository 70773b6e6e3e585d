import Addresses
import Glibc
public import HostState
import Netlink
import SystemCalls

/// The point-to-point IPIP tunnels of this network namespace, over rtnetlink. Added tunnels are journalled, so that they can
/// be named and removed.
public struct TunnelSetup {
    /// The name of the kernel's own ipip device, which receives packets that match no tunnel with ends. The device must
    /// not be deleted.
    public static let fallbackName = "tunl0"

    private let instance: InstancePaths

    public init(instance: InstancePaths = InstancePaths()) { self.instance = instance }

    /// The kernel's kind of an IPIP tunnel, which is also its module's name.
    static let kind = "ipip"

    // MARK: Add

    /// Returns the steps to the wanted tunnel. Changes nothing.
    public func plan(_ tunnel: PointToPoint) throws(TunnelError) -> Plan {
        try TunnelError.naming {
            let plan = try plan(tunnel, RouteSocket())
            if plan.steps.contains(.loadTunnelModule), !KernelModule.isAvailable(Self.kind) {
                throw TunnelError.noModule
            }
            return plan
        }
    }

    /// Makes the steps, and reports each completed one. On failure this call's changes are undone.
    public func add(_ tunnel: PointToPoint, report: (Step) -> Void) throws(TunnelError) -> Plan {
        try changing { journal, socket in
            let plan = try plan(tunnel, socket)
            try plan.apply(journal: journal, report: report)
            return plan
        }
    }

    private func plan(_ tunnel: PointToPoint, _ socket: RouteSocket) throws -> Plan {
        try Planner(
            desired: tunnel, links: socket.links(), tunnels: socket.tunnels(), addresses: socket.addresses(),
            hasModule: KernelModule.isPresent(Self.kind)
        ).plan()
    }

    // MARK: Delete

    /// Deletes an IPIP tunnel, whichever program made it. If no journalled tunnel is left, a module that ipvsd loaded
    /// is unloaded, too.
    public func delete(_ name: String, report: (Change) -> Void) throws(TunnelError) {
        try changing { journal, socket in
            let change = try deletion(of: name, socket)
            try journal.make([.undo(change)])
            report(change)
            try dropEntries(of: name, journal, report)
        }
    }

    /// Undoes the changes of all calls of `add`. Returns true if all were undone.
    public func deleteAll(report: (Change, (any Error)?) -> Void) throws(TunnelError) -> Bool {
        try changing { journal, _ in journal.undoAll(report: report) }
    }

    /// Returns the changes that `delete`, or without a name `deleteAll`, would undo. Changes nothing.
    public func deletions(_ name: String?) throws(TunnelError) -> [Change] {
        try TunnelError.naming {
            if let name { return [try deletion(of: name, RouteSocket())] }
            return try ChangeJournal.read(path: instance.tunnelJournal).reversed()
        }
    }

    private func deletion(of name: String, _ socket: RouteSocket) throws -> Change {
        guard let link = try socket.link(named: name) else { throw TunnelError.notFound("no tunnel \(name)") }
        guard link.kind == Self.kind else {
            throw TunnelError.refused("\(name) is no IPIP tunnel, but \(link.kind ?? "a hardware device")")
        }
        guard name != Self.fallbackName else {
            throw TunnelError.refused(
                "\(name) is the kernel's own, which no tunnel's deletion removes ('ipvsd realserver-setup --undo' takes the VIPs from it)"
            )
        }
        return .tunnel(name: .init(link))
    }

    /// Undoes the journal's other changes to a deleted tunnel. Also unloads the module if that is the journal's only
    /// change left.
    private func dropEntries(of name: String, _ journal: ChangeJournal, _ report: (Change) -> Void) throws {
        for change in journal.changes.reversed() {
            switch change {
            case .address(let device, _, _, _) where device.name == name: try journal.undo(change)
            case .linkUp(let device, _) where device.name == name: try journal.undo(change)
            default: break
            }
        }
        guard case .module? = journal.changes.first, journal.changes.count == 1 else { return }
        for change in journal.changes {
            try journal.undo(change)
            report(change)
        }
    }

    // MARK: List

    /// Returns all IPIP tunnels, or only the tunnel called `name`. Throws if there is no such tunnel.
    public static func list(_ name: String? = nil) throws(TunnelError) -> [ListedTunnel] {
        try TunnelError.naming {
            let socket = try RouteSocket()
            let links = try socket.links()
            let addresses = try socket.addresses()
            let found = try socket.tunnels().filter { $0.kind == Self.kind && (name ?? $0.name) == $0.name }
            if let name, found.isEmpty { throw TunnelError.notFound("no IPIP tunnel \(name)") }
            return found.compactMap { tunnel in
                guard let link = links.first(where: { $0.index == tunnel.interface }) else { return nil }
                return ListedTunnel(
                    tunnel: tunnel, link: link,
                    lower: tunnel.lower.flatMap { index in links.first { $0.index == index } },
                    addresses: addresses.filter { $0.interface == tunnel.interface })
            }
        }
    }

    // MARK: Journal

    private func changing<Result>(
        _ body: (ChangeJournal, RouteSocket) throws -> Result
    ) throws(TunnelError) -> Result {
        try TunnelError.naming {
            let busy = TunnelError.busy("another 'ipvsd tunnel' is at work here")
            return try instance.changing(journal: instance.tunnelJournal, lock: "tunnels.lock", busy: busy) { journal in
                let socket = try RouteSocket()
                try journal.follow(socket.links())
                return try body(journal, socket)
            }
        }
    }
}

extension Step {
    static let loadTunnelModule = Step.loadModule(TunnelSetup.kind, orElse: TunnelError.noModule)

    static func create(_ tunnel: PointToPoint) -> Step {
        let ttl = tunnel.ttl ?? 0
        return Step(
            "create ipip device \(tunnel.name) local \(tunnel.local) remote \(tunnel.remote) "
                + "ttl \(PointToPoint.describe(ttl: ttl))" + (tunnel.mtu.map { " mtu \($0)" } ?? "")
        ) { _, socket in
            [
                .make([.tunnel(name: .init(named: tunnel.name))]) {
                    do throws(NetlinkError) {
                        try socket.createTunnel(
                            name: tunnel.name, local: tunnel.local, remote: tunnel.remote, ttl: ttl, mtu: tunnel.mtu)
                    } catch { throw error.code == EOPNOTSUPP ? TunnelError.noModule : error as any Error }
                }
            ]
        }
    }
}

extension TunnelError {
    static var noModule: TunnelError {
        var system = utsname()
        let release =
            uname(&system) == 0
            ? withUnsafeBytes(of: system.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) } : "?"
        return .kernel(
            "this kernel (\(release)) has no IPIP tunnels: modprobe finds no module \(TunnelSetup.kind) "
                + "(CONFIG_NET_IPIP), and no stand-in is made for point-to-point tunnels")
    }
}
