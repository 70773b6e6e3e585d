import BPF
import CLinux
import Glibc
import HostState
import LoadBalancing
import Netlink
import SystemCalls

/// Makes the steps of a plan, each journalled before.
final class Executor {
    let socket: RouteSocket
    let journal: ChangeJournal
    /// Of earlier runs, which this one wrote over or removed, as they were before.
    private var formerFiles: [BootFile] = []

    init(socket: RouteSocket, journal: ChangeJournal) {
        self.socket = socket
        self.journal = journal
    }

    /// The kernel has no ipip that works here after all.
    struct NoKernelTunnel: Error {}

    func make(_ step: Step) throws {
        switch step.action {
        case .loadModule(let name):
            do {
                try journal.make(.module(name: name)) { try KernelModule.load(name) }
            } catch is SystemError {
                throw NoKernelTunnel()
            }
        case .createTunnel: try createTunnel()
        case .createTUN:
            try journal.make(.tun(name: .init(named: Names.device))) {
                if clinux_persist_tun(Names.device, 1) != 0 {
                    throw SystemError("create TUN device \(Names.device)", code: errno)
                }
            }
            try journal.follow(socket.links())
        case .setSysctl(let key, let value):
            try journal.make(.sysctl(key: key, original: try Sysctl.read(key))) { try Sysctl.write(key, value) }
            try journal.follow(socket.links())
        case .setUp:
            let tunnel = try tunnel()
            try journal.make(.linkUp(name: .init(tunnel), wasUp: tunnel.isUp)) {
                try socket.setUp(true, interface: tunnel.index)
            }
        case .addAddress(let vip):
            let tunnel = try tunnel()
            try journal.make(.address(interface: .init(tunnel), address: vip, prefixLength: 32)) {
                try socket.addAddress(vip, prefixLength: 32, to: tunnel.index)
            }
        case .removeAddress(let entry, let interface):
            let place = try socket.link(index: entry.interface).map(Change.Interface.init) ?? .init(named: interface)
            try journal.make(
                .addressRemoved(
                    interface: place, address: entry.address, prefixLength: entry.prefixLength, scope: entry.scope)
            ) {
                try socket.removeAddress(entry.address, prefixLength: entry.prefixLength, from: entry.interface)
            }
        case .attachProgram(let interface): try attachProgram(to: interface)
        case .lowerSegments(let rules):
            let changes = rules.changes
            // One transaction makes all of them.
            try journal.make(changes.map { ($0, $0 == changes.last) }) { isLast in
                if isLast { try NFTables.run(rules.commands) }
            }
        case .removeSegmentRules:
            for change in journal.changes.reversed() where change.isOfSegmentRules { try journal.undo(change) }
            try NFTables.removeTable(SegmentRules.table)
        case .attachSegmentProgram(let vip, let size, let interface):
            try attachSegmentProgram(for: vip, size: size, to: interface)
        case .detachSegmentProgram(let program, let interface):
            try detach(program, from: interface)
        case .removeRoute(let route):
            try socket.removeRoute(route)
            try journal.undo(.route(route))
        case .removeRule(let rule):
            try socket.removeRule(rule)
            try journal.undo(.rule(rule))
        case .write(let file): try write(file)
        case .removeFile(let path):
            remember(path)
            try journal.undo(.file(path: path))
        case .reload: HostManager.reload()
        }
    }

    private func write(_ file: BootFile) throws {
        try makeDirectory(File.parent(of: file.path))
        remember(file.path)
        try journal.make(.file(path: file.path)) { try file.write() }
    }

    private func remember(_ path: String) {
        if !formerFiles.contains(where: { $0.path == path }), let file = BootFile.present(at: path) {
            formerFiles.append(file)
        }
    }

    /// Puts back what stood in files of earlier runs: they are in the journal, but not what was in them.
    func restoreFiles() {
        guard !formerFiles.isEmpty else { return }
        for file in formerFiles { try? journal.make(.file(path: file.path)) { try file.write() } }
        HostManager.reload()
    }

    /// Readable by all, as networkd is not root.
    private func makeDirectory(_ path: String) throws {
        if File.exists(path) { return }
        try makeDirectory(File.parent(of: path))
        try journal.make(.directory(path: path)) {
            guard mkdir(path, 0o755) == 0, chmod(path, 0o755) == 0 else {
                throw SystemError("create directory \(path)", code: errno)
            }
        }
    }

    /// With net.core.fb_tunnels_only_for_init_net a namespace has no tunl0 of itself. One from anywhere to anywhere is
    /// the same.
    private func createTunnel() throws {
        if try socket.link(named: Names.device) != nil { return }
        do {
            try journal.make(.link(name: .init(named: Names.device))) {
                try socket.createLink(name: Names.device, kind: Names.module)
            }
        } catch let error as NetlinkError {
            if error.code == EOPNOTSUPP { throw NoKernelTunnel() }
            // EEXIST: the request itself had the kernel load the module.
            if error.code != EEXIST { throw error }
        }
        try journal.follow(socket.links())
    }

    private func attachProgram(to interface: String) throws {
        let tunnel = try tunnel()
        guard let link = try socket.link(named: interface) else {
            throw RealServerSetupError.noInterface("no interface \(interface)")
        }
        let object = try BPFObject(.decapsulate)
        try object.setReadOnlyData(UInt32(bitPattern: tunnel.index))
        try object.load()
        let program = try object.program(named: "decapsulate")
        let hook = BPFProgram.TrafficControlHook(
            interface: link.index, direction: .ingress, priority: Names.filterPriority,
            handle: UInt32(bitPattern: tunnel.index))

        // One for a tunl0 that is gone would drop what it redirects.
        for filter in try socket.filters(interface: link.index, ingress: true)
        where filter.priority == Names.filterPriority && filter.handle != hook.handle {
            var stale = hook
            stale.handle = filter.handle
            try stale.detach()
            try journal.undo(change(link, handle: filter.handle))
        }
        try attach(program, by: hook, to: link, change(link, handle: hook.handle))
    }

    private func attach(
        _ program: BPFProgram, by hook: BPFProgram.TrafficControlHook, to link: Link, _ change: Change
    ) throws {
        if try !socket.hasClsact(interface: link.index) {
            try journal.make(.qdisc(interface: .init(link))) { _ = try hook.createQdisc() }
        }
        try journal.make(change) { try hook.attach(program) }
    }

    /// Layout of the program's constants.
    private struct SegmentSettings: BitwiseCopyable {
        var vip: UInt32
        var size: UInt32
    }

    private func attachSegmentProgram(for vip: IPv4Address, size: UInt32, to interface: String) throws {
        guard let link = try socket.link(named: interface) else {
            throw RealServerSetupError.noInterface("no interface \(interface)")
        }
        let object = try BPFObject(.segments)
        try object.setReadOnlyData(SegmentSettings(vip: vip.bigEndian, size: size))
        try object.load()
        let entry = SegmentProgram(vip: vip, size: size)
        let hook = BPFProgram.TrafficControlHook(
            interface: link.index, direction: .egress, priority: entry.priority, handle: vip.value)
        try attach(try object.program(named: "lower_mss"), by: hook, to: link, change(link, entry))
    }

    private func detach(_ program: SegmentProgram, from interface: String) throws {
        guard let link = try socket.link(named: interface) else { return }
        try BPFProgram.TrafficControlHook(
            interface: link.index, direction: .egress, priority: program.priority, handle: program.vip.value
        ).detach()
        try journal.undo(change(link, program))
    }

    private func change(_ link: Link, _ program: SegmentProgram) -> Change {
        .filter(interface: .init(link), direction: .egress, priority: program.priority, handle: program.vip.value)
    }

    private func change(_ link: Link, handle: UInt32) -> Change {
        .filter(interface: .init(link), direction: .ingress, priority: Names.filterPriority, handle: handle)
    }

    private func tunnel() throws -> Link {
        guard let link = try socket.link(named: Names.device) else {
            throw SystemError("look up \(Names.device)", code: ENODEV)
        }
        return link
    }
}
