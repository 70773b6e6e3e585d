public import Addresses
import BPF
import Glibc
public import HostState
import Netlink
import SystemCalls

/// Makes this machine (this network namespace) a real server: tunl0 that unwraps IPIP and holds the VIPs, silence
/// about them on the LAN, a reverse-path filter that lets clients in, and an MSS that leaves room for the tunnel.
public struct RealServerSetup {
    private let vips: [IPAddress]
    private let mss: MSSPolicy
    private let interfaces: [String]
    private let instance: InstancePaths
    private let bootSetup: BootSetup?

    /// `interfaces` matter only where the kernel has no ipip: those on which tunnelled packets come in, by default
    /// every Ethernet interface that is up and has an IPv4 address. With `bootSetup` it outlives a restart.
    public init(
        vips: [IPAddress], mss: MSSPolicy = .auto, interfaces: [String] = [],
        instance: InstancePaths = InstancePaths(), bootSetup: BootSetup? = nil
    ) {
        self.vips = vips.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
        self.mss = mss
        self.interfaces = interfaces
        self.instance = instance
        self.bootSetup = bootSetup
    }

    /// Compares this machine with the real server. Changes nothing.
    public func plan() throws -> Plan {
        try namingPrivilege { try plan(mayUseKernelTunnel: true) }
    }

    /// Makes it so, reporting each step when it is done. On failure what this run did is taken back. `corrections`
    /// are made before the rest of the plan is; `alone`, instead of it.
    public func apply(corrections: [Step] = [], alone: Bool = false, report: (Step) -> Void) throws {
        silenceLibbpf()
        try Self.changing(instance) { journal in
            try journal.follow(RouteSocket().links())
            let former = bootSetup.map { BootSetup.paths(namespace: $0.namespace).compactMap(BootFile.present) } ?? []
            do {
                try journal.revertingOnFailure {
                    try Plan(corrections).make(journal: journal, report: report)
                    if alone { return }
                    do {
                        try plan(mayUseKernelTunnel: true).make(journal: journal, report: report)
                    } catch is NoKernelTunnel {
                        // What was made stays, and the plan goes on from there.
                        try plan(mayUseKernelTunnel: false).make(journal: journal, report: report)
                    }
                }
            } catch {
                BootFile.restore(former, journal)
                throw error
            }
        }
    }

    /// Puts back what every earlier `apply` changed, the latest first. True if all of it could be. What could not
    /// stays in the journal for another try, and so does a tunl0 that others use, which is no failure.
    public static func undo(
        instance: InstancePaths = InstancePaths(), report: (Change, (any Error)?) -> Void
    ) throws -> Bool {
        try changing(instance) { journal in
            try BootSetup.reloading(journal) { try undo(journal.changes, journal, report) }
        }
    }

    /// The same for some VIPs only: their addresses, the rules by which their answers find the MSS, and their lines in
    /// what makes it all again at a start. With the last of them everything goes.
    public static func undo(
        vips: [IPAddress], instance: InstancePaths = InstancePaths(), report: (Change, (any Error)?) -> Void
    ) throws -> Bool {
        guard try !leavesNothing(vips, instance) else { return try undo(instance: instance, report: report) }
        return try changing(instance) { journal in
            let changes = changes(of: vips, among: journal.changes)
            try BootSetup.forget(vips)
            return try BootSetup.isOnly(vips)
                ? BootSetup.reloading(journal) { try undo(changes, journal, report) } : undo(changes, journal, report)
        }
    }

    /// Has `body` work by the journal, which also names files from before a restart of the machine.
    private static func changing<Result>(
        _ instance: InstancePaths, _ body: (ChangeJournal) throws -> Result
    ) throws -> Result {
        try namingPrivilege {
            let busy = RealServerSetupError.busy("another realserver-setup is at work here")
            return try instance.changing(journal: instance.realServerJournal, lock: "realserver.lock", busy: busy) {
                try BootSetup.adopt(into: $0)
                return try body($0)
            }
        }
    }

    private static func undo(
        _ changes: [Change], _ journal: ChangeJournal, _ report: (Change, (any Error)?) -> Void
    ) throws -> Bool {
        var kept = Set(journal.changes).subtracting(changes)
        // What others use stays in the journal, and is no failure.
        if let use = try othersUse(of: journal) {
            for change in changes where change.isOfTunnel && !kept.contains(change) {
                kept.insert(change)
                report(change, RealServerSetupError.conflict("\(Names.device) is in use by others: \(use)"))
            }
        }
        return journal.undoAll(except: Array(kept), report: report)
    }

    /// An address or a route of others on tunl0, which its removal would take from them.
    private static func othersUse(of journal: ChangeJournal) throws -> String? {
        let socket = try RouteSocket()
        guard let tunnel = try tunnel(of: journal, among: socket.links()) else { return nil }
        let ours = try Set(journal.changes.compactMap(\.vip) + rulesVIPs(socket))
        if let other = try socket.addresses().first(where: {
            $0.interface == tunnel.index && !ours.contains($0.address)
        }) {
            return "address \(other.address)"
        }
        let route = try socket.routes().first { route in
            // The kernel's own (2) come with addresses.
            route.type == RouteType.unicast && route.table != RouteTable.local
                && ![Names.routeProtocol, 2].contains(route.protocolID)
                && ([route.interface] + route.nextHops.map(\.interface)).contains(tunnel.index)
        }
        return route.map { "route \($0.destinationDescription)" }
    }

    /// The device that the journal is about. One that was renamed is still unloaded with its module.
    private static func tunnel(of journal: ChangeJournal, among links: [Link]) -> Link? {
        let places = journal.changes.filter(\.isOfTunnel).compactMap(\.interface)
        let place = places.first { $0.index != nil } ?? .init(named: Names.device)
        return place.find(among: links)
            ?? links.first { $0.index == place.index && [Names.module, "tun"].contains($0.kind) }
    }

    private static func rulesVIPs(_ socket: RouteSocket) throws -> [IPAddress] {
        try socket.rules().filter(Names.isOurs).compactMap(\.source) + (try SegmentRules.present()?.vips ?? [])
    }

    /// Changes that `undo(vips:)` would put back, the latest first. Changes nothing.
    public static func undoable(vips: [IPAddress], instance: InstancePaths = InstancePaths()) throws -> [Change] {
        let all = try undoable(instance: instance)
        return try leavesNothing(vips, instance) ? all : changes(of: vips, among: all)
    }

    /// Changes for these VIPs alone. Files for the machine's start are among them where they name no others.
    private static func changes(of vips: [IPAddress], among changes: [Change]) -> [Change] {
        let boot = BootSetup.isOnly(vips) ? BootSetup.present() : []
        return changes.filter { $0.isOf(vips) || boot.contains($0) }
    }

    /// Whether some of them are set up here, and no others.
    private static func leavesNothing(_ vips: [IPAddress], _ instance: InstancePaths) throws -> Bool {
        let journalled = try ChangeJournal.read(path: instance.realServerJournal).compactMap(\.vip)
        let present = Set(journalled + BootSetup.presentVIPs())
        return !present.isEmpty && present.isSubset(of: vips)
    }

    /// Changes that `undo` would put back, the latest first. Changes nothing.
    public static func undoable(instance: InstancePaths = InstancePaths()) throws -> [Change] {
        let changes = try ChangeJournal.read(path: instance.realServerJournal)
        return (changes + BootSetup.present().filter { !changes.contains($0) }).reversed()
    }

    /// The VIPs that set-ups have put here, by the journal, by what makes them again at a start and by what is there.
    /// Other addresses of tunl0 are others'. Changes nothing.
    public static func knownVIPs(instance: InstancePaths = InstancePaths()) throws -> [IPAddress] {
        let journalled = try ChangeJournal.read(path: instance.realServerJournal)
        return try Set(journalled.compactMap(\.vip) + BootSetup.presentVIPs() + rulesVIPs(RouteSocket())).sorted()
    }

    /// Interfaces on which set-ups have had tunnelled packets unwrapped by a program. Changes nothing.
    public static func ingressInterfaces(instance: InstancePaths = InstancePaths()) throws -> [String] {
        let links = try RouteSocket().links()
        let names = try ChangeJournal.read(path: instance.realServerJournal).compactMap { change -> String? in
            guard case .filter(let place, .ingress, Names.filterPriority, _) = change else { return nil }
            return place.find(among: links)?.name
        }
        return Set(names).sorted()
    }

    private func plan(mayUseKernelTunnel: Bool) throws -> Plan {
        try Planner(
            vips: vips, mss: mss, interfaces: interfaces, mayUseKernelTunnel: mayUseKernelTunnel,
            machine: Machine(RouteSocket()), knownVIPs: Self.knownVIPs(instance: instance), bootSetup: bootSetup
        ).plan()
    }
}

extension Change {
    /// The VIP that the change put on tunl0, or that its rules are about.
    fileprivate var vip: IPAddress? {
        switch self {
        case .address(let place, let address, _, _) where place.name == Names.device: address
        case .netfilterElement(SegmentRules.table, _, let address): address
        case .rule(let rule) where rule.table == Names.table: rule.source
        case .filter(_, .egress, _, let handle): IPAddress(handle)
        default: nil
        }
    }

    var isOfSegmentRules: Bool {
        switch self {
        case .netfilterTable(SegmentRules.table), .netfilterElement(SegmentRules.table, _, _): true
        default: false
        }
    }

    /// Made of tunl0 itself, which others may use as well.
    fileprivate var isOfTunnel: Bool {
        switch self {
        case .link(let device), .tun(let device), .linkUp(let device, _): device.name == Names.device
        case .sysctl(let key, _, _): key.hasPrefix("net/ipv4/conf/\(Names.device)/")
        case .module(let name): name == Names.module
        default: false
        }
    }

    /// Whether the change is for these VIPs alone.
    fileprivate func isOf(_ vips: [IPAddress]) -> Bool { vip.map(vips.contains) == true }
}

/// Turns every way in which the kernel says "not you" into the one error that the caller tells apart.
private func namingPrivilege<Result>(_ body: () throws -> Result) throws -> Result {
    do {
        return try body()
    } catch let error as any KernelError where error.isMissingPrivilege {
        throw RealServerSetupError.missingPrivilege("\(error)")
    }
}

/// Why a real server cannot be set up, where it is not simply the kernel that refuses.
public enum RealServerSetupError: Error, CustomStringConvertible {
    /// An operation that wants root: exit code 77.
    case missingPrivilege(String)
    /// Exit code 69.
    case noInterface(String)
    /// The machine is configured in a way that we must not touch: exit code 71.
    case conflict(String)
    /// Another realserver-setup is at work: exit code 75.
    case busy(String)

    public var description: String {
        switch self {
        case .missingPrivilege(let reason): "\(reason) (run as root)"
        case .noInterface(let reason), .conflict(let reason), .busy(let reason): reason
        }
    }
}
