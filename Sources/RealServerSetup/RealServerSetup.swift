public import Addresses
import BPF
import Glibc
public import HostState
import Netlink
import SystemCalls

/// The set-up of this machine, or network namespace, as a real server. tunl0 decapsulates IPIP and has the VIPs. The
/// LAN gets no ARP answers for the VIPs. The reverse-path filter lets clients' packets in, and the MSS leaves room for
/// the tunnel.
public struct RealServerSetup {
    private let vips: [IPAddress]
    private let mss: MSSPolicy
    private let interfaces: [String]
    private let instance: InstancePaths
    private let bootSetup: BootSetup?

    /// Describes a real server. `interfaces` are where tunnelled packets come in, which matters only if the kernel has
    /// no ipip. An empty list means all Ethernet interfaces that are up and have an IPv4 address. With a `bootSetup`
    /// the set-up outlives a restart.
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

    /// Returns the steps to the wanted real server. Changes nothing.
    public func plan() throws -> Plan {
        try namingPrivilege { try plan(mayUseKernelTunnel: true) }
    }

    /// Makes the steps, and reports each completed one. On failure this run's changes are undone. `corrections` are
    /// steps before the plan. If `alone` is true, only the corrections are made.
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
                        // The completed steps stay, and a new plan continues from there.
                        try plan(mayUseKernelTunnel: false).make(journal: journal, report: report)
                    }
                }
            } catch {
                BootFile.restore(former, journal)
                throw error
            }
        }
    }

    /// Undoes the changes of all earlier runs, the latest first. Returns true if all were undone, except for a tunl0
    /// that other programs use. A change whose undoing fails stays in the journal for another try, and so does such a
    /// tunl0.
    public static func undo(
        instance: InstancePaths = InstancePaths(), report: (Change, (any Error)?) -> Void
    ) throws -> Bool {
        try changing(instance) { journal in
            try BootSetup.reloading(journal) { try undo(journal.changes, journal, report) }
        }
    }

    /// Undoes the set-up of some VIPs: their addresses, their elements of the MSS rules, and their lines in the boot
    /// files. If no other VIP is set up, everything is undone.
    public static func undo(
        vips: [IPAddress], instance: InstancePaths = InstancePaths(), report: (Change, (any Error)?) -> Void
    ) throws -> Bool {
        guard try !includeAllSetUp(vips, instance) else { return try undo(instance: instance, report: report) }
        return try changing(instance) { journal in
            let changes = changes(of: vips, among: journal.changes)
            try BootSetup.remove(vips)
            return try BootSetup.isOnly(vips)
                ? BootSetup.reloading(journal) { try undo(changes, journal, report) } : undo(changes, journal, report)
        }
    }

    /// Calls `body` with the journal, which first gets the boot files from before a restart of the machine.
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
        // A tunl0 that other programs use stays in the journal, and is not a failure.
        if let use = try othersUse(of: journal) {
            for change in changes where change.isOfTunnel && !kept.contains(change) {
                kept.insert(change)
                report(change, RealServerSetupError.conflict("\(Names.device) is in use by others: \(use)"))
            }
        }
        return journal.undoAll(except: Array(kept), report: report)
    }

    /// Returns in words an address or a route of another program on tunl0, which the removal of tunl0 would remove.
    /// Returns nil if there is none.
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
            // RTPROT_KERNEL (2) is the protocol of routes that the kernel adds with addresses.
            route.type == RouteType.unicast && route.table != RouteTable.local
                && ![Names.routeProtocol, 2].contains(route.protocolID)
                && ([route.interface] + route.nextHops.map(\.interface)).contains(tunnel.index)
        }
        return route.map { "route \($0.destinationDescription)" }
    }

    /// Returns the journal's tunnel device, even if it was renamed, or nil if it is gone. The unloading of the module
    /// removes the device under any name.
    private static func tunnel(of journal: ChangeJournal, among links: [Link]) -> Link? {
        let places = journal.changes.filter(\.isOfTunnel).compactMap(\.interface)
        let place = places.first { $0.index != nil } ?? .init(named: Names.device)
        return place.find(among: links)
            ?? links.first { $0.index == place.index && [Names.module, "tun"].contains($0.kind) }
    }

    private static func rulesVIPs(_ socket: RouteSocket) throws -> [IPAddress] {
        try socket.rules().filter(Names.isOurs).compactMap(\.source) + (try SegmentRules.present()?.vips ?? [])
    }

    /// Returns the changes that `undo(vips:)` would undo, the latest first. Changes nothing.
    public static func undoable(vips: [IPAddress], instance: InstancePaths = InstancePaths()) throws -> [Change] {
        let all = try undoable(instance: instance)
        return try includeAllSetUp(vips, instance) ? all : changes(of: vips, among: all)
    }

    /// Returns the changes for these VIPs. The boot files are among them if they name no other VIPs.
    private static func changes(of vips: [IPAddress], among changes: [Change]) -> [Change] {
        let boot = BootSetup.isOnly(vips) ? BootSetup.present() : []
        return changes.filter { $0.isOf(vips) || boot.contains($0) }
    }

    /// Whether some of these VIPs are set up here, and no others.
    private static func includeAllSetUp(_ vips: [IPAddress], _ instance: InstancePaths) throws -> Bool {
        let journalled = try ChangeJournal.read(path: instance.realServerJournal).compactMap(\.vip)
        let present = Set(journalled + BootSetup.presentVIPs())
        return !present.isEmpty && present.isSubset(of: vips)
    }

    /// Returns the changes that `undo` would undo, the latest first. Changes nothing.
    public static func undoable(instance: InstancePaths = InstancePaths()) throws -> [Change] {
        let changes = try ChangeJournal.read(path: instance.realServerJournal)
        return (changes + BootSetup.present().filter { !changes.contains($0) }).reversed()
    }

    /// Returns the VIPs of all set-ups, from the journal, the boot files and the rules. Other addresses on tunl0 belong
    /// to other programs. Changes nothing.
    public static func knownVIPs(instance: InstancePaths = InstancePaths()) throws -> [IPAddress] {
        let journalled = try ChangeJournal.read(path: instance.realServerJournal)
        return try Set(journalled.compactMap(\.vip) + BootSetup.presentVIPs() + rulesVIPs(RouteSocket())).sorted()
    }

    /// Returns the names of the interfaces where a program decapsulates tunnelled packets. Changes nothing.
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
    /// The VIP of a change: an address on tunl0, an element of the MSS rules, a rule, or a program that lowers the MSS.
    /// Nil for any other change.
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

    /// Whether the change is of tunl0 itself, which other programs may use as well.
    fileprivate var isOfTunnel: Bool {
        switch self {
        case .link(let device), .tun(let device), .linkUp(let device, _): device.name == Names.device
        case .sysctl(let key, _, _): key.hasPrefix("net/ipv4/conf/\(Names.device)/")
        case .module(let name): name == Names.module
        default: false
        }
    }

    /// Whether the change is for one of these VIPs.
    fileprivate func isOf(_ vips: [IPAddress]) -> Bool { vip.map(vips.contains) == true }
}

/// Calls `body`, and throws `missingPrivilege` for all of the kernel's errors that mean a missing privilege.
private func namingPrivilege<Result>(_ body: () throws -> Result) throws -> Result {
    do {
        return try body()
    } catch let error as any KernelError where error.isMissingPrivilege {
        throw RealServerSetupError.missingPrivilege("\(error)")
    }
}

/// An error of the set-up that has an exit code of its own.
public enum RealServerSetupError: Error, CustomStringConvertible {
    /// An operation needs root: exit code 77.
    case missingPrivilege(String)
    /// An interface is missing: exit code 69.
    case noInterface(String)
    /// The machine has a configuration that ipvsd must not change: exit code 71.
    case conflict(String)
    /// A VIP is the host's own address: exit code 64.
    case ownAddress(String)
    /// Another realserver-setup runs: exit code 75.
    case busy(String)

    public var description: String {
        switch self {
        case .missingPrivilege(let reason): "\(reason) (run as root)"
        case .noInterface(let reason), .conflict(let reason), .ownAddress(let reason), .busy(let reason): reason
        }
    }
}
