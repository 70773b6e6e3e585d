import Addresses
import BPF
import CLinux
import Glibc
import HostState
import Netlink
import SystemCalls

/// The error of a step on a kernel without a working ipip.
struct NoKernelTunnel: Error {}

/// The steps of a real server's set-up.
extension Step {
    // MARK: tunl0

    static let loadTunnelModule = Step.loadModule(Names.module, orElse: NoKernelTunnel())

    /// Creates the kernel's ipip device, unless the loading of the module has created it. With
    /// net.core.fb_tunnels_only_for_init_net a namespace has no tunl0 of its own. A tunnel without fixed ends takes the
    /// same packets.
    static let createTunnel = Step("create \(Names.device) (kernel ipip)") { _, socket in
        if try socket.link(named: Names.device) != nil { return [] }
        return [
            .make([.link(name: .init(named: Names.device))]) {
                do throws(NetlinkError) { try socket.createLink(name: Names.device, kind: Names.module) } catch {
                    switch error.code {
                    case EOPNOTSUPP: throw NoKernelTunnel()
                    // The request has made the kernel load the module, which created the device.
                    case EEXIST: throw Unneeded()
                    default: throw error
                    }
                }
            }
        ]
    }

    /// Creates the TUN device of the stand-in, for kernels without ipip.
    static let createTUN = Step("create \(Names.device) (TUN device, as this kernel has no ipip)") { _, _ in
        [
            .make([.tun(name: .init(named: Names.device))]) {
                if clinux_persist_tun(Names.device, 1) != 0 {
                    throw SystemError("create TUN device \(Names.device)", code: errno)
                }
            }
        ]
    }

    /// Attaches the stand-in's program, which strips the outer header.
    static func attachProgram(to interface: String) -> Step {
        Step("attach program decapsulate to ingress of \(interface)") { _, socket in
            let link = try named(interface, socket)
            let tunnel = UInt32(bitPattern: try socket.present(Names.device).index)
            let object = try BPFObject(.decapsulate)
            try object.setReadOnlyData(tunnel)
            try object.load()
            let hook = BPFProgram.TrafficControlHook(
                interface: link.index, direction: .ingress, priority: Names.filterPriority, handle: tunnel)
            // A program for a tunl0 that is gone would drop packets.
            let stale = try socket.filters(interface: link.index, ingress: true)
                .filter { $0.priority == hook.priority && $0.handle != hook.handle }
                .map { filter(link, .ingress, filter: $0) }
            return try stale.map { .undo($0) }
                + Part.program(hook, on: link, socket) { try hook.attach(object.program(named: "decapsulate")) }
        }
    }

    private static func named(_ interface: String, _ socket: RouteSocket) throws -> Link {
        if let link = try socket.link(named: interface) { return link }
        throw RealServerSetupError.noInterface("no interface \(interface)")
    }

    private static func filter(
        _ link: Link, _ direction: BPFProgram.TrafficControlHook.Direction,
        filter: (priority: UInt32, handle: UInt32)
    ) -> Change {
        .filter(interface: .init(link), direction: direction, priority: filter.priority, handle: filter.handle)
    }

    // MARK: Segment sizes

    /// Replaces the rules of nftables that lower the MSS.
    static func lowerSegments(_ rules: SegmentRules) -> Step {
        let sizes = Set(rules.limits.map(\.size)).sorted(by: >).map { "\($0)" }.joined(separator: " or ")
        let names = rules.vips.sorted().map { "\($0)" }.joined(separator: ", ")
        return Step(
            "lower the MSS of answers from \(names) to \(sizes) by nftables' table ip \(SegmentRules.table)"
        ) { _, _ in [.make(rules.changes) { try NFTables.run(rules.commands) }] }
    }

    static let removeSegmentRules = Step("remove nftables' table ip \(SegmentRules.table)") { journal, _ in
        journal.changes.reversed().filter(\.isOfSegmentRules).map { .undo($0) }
            + [.run { try NFTables.removeTable(SegmentRules.table) }]
    }

    /// The layout of the program's constants. `vip` is in network byte order.
    private struct SegmentSettings: BitwiseCopyable {
        var vip: UInt32
        var size: UInt32
    }

    /// Attaches the program that lowers the MSS where nftables cannot.
    static func attach(_ program: SegmentProgram, to interface: String) -> Step {
        Step("attach program lower_mss for \(program.vip) to egress of \(interface)") { _, socket in
            let link = try named(interface, socket)
            let object = try BPFObject(.segments)
            try object.setReadOnlyData(SegmentSettings(vip: program.vip.bigEndian, size: program.size))
            try object.load()
            let hook = BPFProgram.TrafficControlHook(
                interface: link.index, direction: .egress, priority: program.priority, handle: program.vip.value)
            return try Part.program(hook, on: link, socket) {
                try hook.attach(object.program(named: "lower_mss"))
            }
        }
    }

    static func detach(_ program: SegmentProgram, from interface: String) -> Step {
        Step("detach program lower_mss for \(program.vip) from egress of \(interface)") { _, socket in
            guard let link = try socket.link(named: interface) else { return [] }
            return [.undo(filter(link, .egress, filter: (program.priority, program.vip.value)))]
        }
    }

    /// Removes a copy of a route, to which an older version added an MSS.
    static func remove(_ route: Route, named text: String) -> Step {
        Step("remove \(text)") { _, _ in [.undo(.route(route))] }
    }

    /// Removes a routing rule of an older version, which leads to such copies of routes.
    static func remove(_ rule: Rule) -> Step { Step("remove rule \(rule)") { _, _ in [.undo(.rule(rule))] } }

    // MARK: Files

    /// Writes a boot file, and creates the missing directories above it.
    static func write(_ file: BootFile) -> Step {
        let text: String? = if case .text(let text, _) = file.contents { text } else { nil }
        return Step("write \(file.path)", text: text) { _, _ in
            missingDirectories(File.parent(of: file.path)).map { path in
                .make([.directory(path: path)]) {
                    // networkd is not root, so the directory is readable by all.
                    guard mkdir(path, 0o755) == 0, chmod(path, 0o755) == 0 else {
                        throw SystemError("create directory \(path)", code: errno)
                    }
                }
            } + [.make([.file(path: file.path)]) { try file.write() }]
        }
    }

    private static func missingDirectories(_ path: String) -> [String] {
        File.exists(path) ? [] : missingDirectories(File.parent(of: path)) + [path]
    }

    static func removeFile(_ path: String) -> Step { Step("remove \(path)") { _, _ in [.undo(.file(path: path))] } }

    static let reload = Step("reload systemd's configuration") { _, _ in [.run { HostManager.reload() }] }
}
