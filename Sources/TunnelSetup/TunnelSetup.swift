import Glibc
public import HostState
import LoadBalancing
import Netlink
import SystemCalls

/// Point-to-point IPIP tunnels of this network namespace, over rtnetlink: added, listed, deleted. What is added is
/// journalled, so that it can be named and removed.
public struct TunnelSetup {
    /// The kernel's own ipip device, which receives what no tunnel with ends claims. Not ours to delete.
    public static let fallbackName = "tunl0"

    private let instance: InstancePaths

    public init(instance: InstancePaths = InstancePaths()) { self.instance = instance }

    // MARK: Add

    /// What `add` would do. Changes nothing.
    public func plan(_ tunnel: PointToPoint) throws(TunnelError) -> TunnelPlan {
        try TunnelError.naming {
            let plan = try plan(tunnel, RouteSocket())
            if plan.steps.contains(.loadModule), !KernelModule.isAvailable(TunnelStep.module) { throw Self.noModule }
            return plan
        }
    }

    /// Makes it so, reporting each step when it is done. On failure what this call did is taken back.
    public func add(
        _ tunnel: PointToPoint, report: (TunnelStep) -> Void
    ) throws(TunnelError) -> TunnelPlan {
        try changing { journal, socket in
            let before = journal.changes
            do {
                let plan = try plan(tunnel, socket)
                for step in plan.steps {
                    try make(step, journal, socket)
                    report(step)
                }
                return plan
            } catch {
                _ = journal.undoAll(except: before) { _, _ in }
                throw error
            }
        }
    }

    private func plan(_ tunnel: PointToPoint, _ socket: RouteSocket) throws -> TunnelPlan {
        try TunnelPlan(
            tunnel, links: socket.links(), tunnels: socket.tunnels(), addresses: socket.addresses(),
            hasModule: KernelModule.isPresent(TunnelStep.module))
    }

    private func make(_ step: TunnelStep, _ journal: ChangeJournal, _ socket: RouteSocket) throws {
        switch step {
        case .loadModule:
            do {
                try journal.make(.module(name: TunnelStep.module)) { try KernelModule.load(TunnelStep.module) }
            } catch is SystemError {
                throw Self.noModule
            }
        case .create(let name, let local, let remote, let ttl, let mtu):
            try journal.make(.tunnel(name: .init(named: name))) {
                do {
                    try socket.createTunnel(name: name, local: local, remote: remote, ttl: ttl, mtu: mtu)
                } catch let error as NetlinkError {
                    throw error.code == EOPNOTSUPP ? Self.noModule : error
                }
            }
            try journal.follow(socket.links())
        case .addAddress(let address, let name):
            // It goes with a tunnel of ours; on one of the operator's it is ours alone.
            let device = try device(name, socket)
            let change = Change.address(
                interface: .init(device), address: address.own, peer: address.peer, prefixLength: address.prefixLength)
            try journaling(change, unlessOwn: device, journal) {
                try socket.addAddress(
                    address.own, peer: address.peer, prefixLength: address.prefixLength, to: device.index)
            }
        case .setUp(let name):
            let device = try device(name, socket)
            try journaling(.linkUp(name: .init(device), wasUp: false), unlessOwn: device, journal) {
                try socket.setUp(true, interface: device.index)
            }
        }
    }

    private func journaling(
        _ change: Change, unlessOwn device: Link, _ journal: ChangeJournal, _ apply: () throws -> Void
    ) throws {
        if journal.entry(for: .tunnel(name: .init(device))) != nil { return try apply() }
        try journal.make(change, apply)
    }

    private func device(_ name: String, _ socket: RouteSocket) throws -> Link {
        guard let link = try socket.link(named: name) else { throw TunnelError.notFound("no device \(name)") }
        return link
    }

    private static var noModule: any Error {
        var system = utsname()
        let release =
            uname(&system) == 0
            ? withUnsafeBytes(of: system.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) } : "?"
        return TunnelError.kernel(
            "this kernel (\(release)) has no IPIP tunnels: modprobe finds no module \(TunnelStep.module) "
                + "(CONFIG_NET_IPIP), and no stand-in is made for point-to-point tunnels")
    }

    // MARK: Delete

    /// Deletes an IPIP tunnel, whoever added it; with the last of ours goes what else was changed for them.
    public func delete(_ name: String, report: (Change) -> Void) throws(TunnelError) {
        try changing { journal, socket in
            let change = try deletion(of: name, socket)
            if journal.entry(for: change) != nil {
                try journal.undo(change)
            } else {
                try socket.deleteLink(index: device(name, socket).index)
            }
            report(change)
            try leave(name, journal, report)
        }
    }

    /// Undoes everything that `add` did. True if all of it could be.
    public func deleteAll(report: (Change, (any Error)?) -> Void) throws(TunnelError) -> Bool {
        try changing { journal, _ in journal.undoAll(report: report) }
    }

    /// What `delete`, or without a name `deleteAll`, would undo. Changes nothing.
    public func deletions(_ name: String?) throws(TunnelError) -> [Change] {
        try TunnelError.naming {
            if let name { return [try deletion(of: name, RouteSocket())] }
            return try ChangeJournal.read(path: instance.tunnelJournal).reversed()
        }
    }

    private func deletion(of name: String, _ socket: RouteSocket) throws -> Change {
        guard let link = try socket.link(named: name) else { throw TunnelError.notFound("no tunnel \(name)") }
        guard link.kind == TunnelStep.module else {
            throw TunnelError.refused("\(name) is no IPIP tunnel, but \(link.kind ?? "a hardware device")")
        }
        guard name != Self.fallbackName else {
            throw TunnelError.refused(
                "\(name) is the kernel's own, which no tunnel's deletion removes ('ipvsd realserver-setup --undo' takes the VIPs from it)"
            )
        }
        return .tunnel(name: .init(link))
    }

    /// Entries about a device that has gone say nothing any more, nor does the module's without tunnels of ours.
    private func leave(_ name: String, _ journal: ChangeJournal, _ report: (Change) -> Void) throws {
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

    /// Every IPIP tunnel, or the one of that name.
    public static func list(_ name: String? = nil) throws(TunnelError) -> [ListedTunnel] {
        try TunnelError.naming {
            let socket = try RouteSocket()
            let links = try socket.links()
            let addresses = try socket.addresses()
            let found = try socket.tunnels().filter { $0.kind == TunnelStep.module && (name ?? $0.name) == $0.name }
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
            guard let lock = try FileLock(path: instance.runDirectory + "/tunnels.lock") else {
                throw TunnelError.busy("another 'ipvsd tunnel' is at work here")
            }
            let journal = try ChangeJournal(path: instance.tunnelJournal)
            defer {
                if journal.changes.isEmpty {
                    lock.removeFile()
                    instance.removeRunDirectoryIfEmpty()
                }
            }
            let socket = try RouteSocket()
            try journal.follow(socket.links())
            return try body(journal, socket)
        }
    }
}
