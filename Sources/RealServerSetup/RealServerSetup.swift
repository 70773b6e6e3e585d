import BPF
import Glibc
public import HostState
public import LoadBalancing
import Netlink
import SystemCalls

/// Makes this machine (this network namespace) a real server: tunl0 that unwraps IPIP and holds the VIPs, silence
/// about them on the LAN, a reverse-path filter that lets clients in, and an MSS that leaves room for the tunnel.
public struct RealServerSetup {
    private let vips: [IPv4Address]
    private let mss: MSSPolicy
    private let interfaces: [String]
    private let instance: InstancePaths
    private let bootSetup: BootSetup?

    /// `interfaces` matter only where the kernel has no ipip: those on which tunnelled packets come in, by default
    /// every Ethernet interface that is up and has an IPv4 address. With `bootSetup` it outlives a restart.
    public init(
        vips: [IPv4Address], mss: MSSPolicy = .auto, interfaces: [String] = [],
        instance: InstancePaths = InstancePaths(), bootSetup: BootSetup? = nil
    ) {
        self.vips = vips.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
        self.mss = mss
        self.interfaces = interfaces
        self.instance = instance
        self.bootSetup = bootSetup
    }

    /// What differs from the present state, in the order in which `apply` would change it; empty when nothing does.
    /// Changes nothing.
    public func plan() throws -> [Step] {
        try namingPrivilege { try plan(RouteSocket(), mayUseKernelTunnel: true) }
    }

    /// Makes it so, reporting each step when it is done. On failure what this run did is taken back. `corrections`
    /// are made before the rest of the plan is; `alone`, instead of it.
    public func apply(
        corrections: [Step] = [], alone: Bool = false, report: (Step) -> Void
    ) throws {
        try namingPrivilege {
            silenceLibbpf()
            guard let lock = try FileLock(path: Self.lock(of: instance)) else { throw Self.isBusy }
            let socket = try RouteSocket()
            let journal = try ChangeJournal(path: instance.realServerJournal)
            defer { leave(lock, journal, of: instance) }
            try BootSetup.adopt(into: journal)
            let before = journal.changes
            let executor = Executor(socket: socket, journal: journal)
            do {
                try run(corrections, executor, report)
                if alone { return }
                do {
                    try run(plan(socket, mayUseKernelTunnel: true), executor, report)
                } catch is Executor.NoKernelTunnel {
                    try run(plan(socket, mayUseKernelTunnel: false), executor, report)
                }
            } catch {
                _ = journal.undoAll(except: before) { _, _ in }
                executor.restoreFiles()
                throw error
            }
        }
    }

    /// Puts back what every earlier `apply` changed, the latest first. True if all of it could be; what could not
    /// stays in the journal for another try.
    public static func undo(
        instance: InstancePaths = InstancePaths(), report: (Change, (any Error)?) -> Void
    ) throws -> Bool {
        try namingPrivilege {
            guard let lock = try FileLock(path: lock(of: instance)) else { throw isBusy }
            let journal = try ChangeJournal(path: instance.realServerJournal)
            defer { leave(lock, journal, of: instance) }
            try BootSetup.adopt(into: journal)
            return BootSetup.reloading(journal) { journal.undoAll(report: report) }
        }
    }

    /// What `undo` would put back, the latest change first. Changes nothing.
    public static func undoable(instance: InstancePaths = InstancePaths()) throws -> [Change] {
        let changes = try ChangeJournal.read(path: instance.realServerJournal)
        return (changes + BootSetup.present().filter { !changes.contains($0) }).reversed()
    }

    private func plan(_ socket: RouteSocket, mayUseKernelTunnel: Bool) throws -> [Step] {
        try Planner(
            vips: vips, mss: mss, interfaces: interfaces, mayUseKernelTunnel: mayUseKernelTunnel,
            machine: Machine(socket), bootSetup: bootSetup
        ).steps()
    }

    private func run(_ steps: [Step], _ executor: Executor, _ report: (Step) -> Void) throws {
        for step in steps {
            try executor.make(step)
            report(step)
        }
    }

    private static func lock(of instance: InstancePaths) -> String { instance.runDirectory + "/realserver.lock" }

    private static var isBusy: RealServerSetupError { .busy("another realserver-setup is at work here") }
}

/// Tidies up the run directory where there is nothing to remember.
private func leave(_ lock: FileLock, _ journal: ChangeJournal, of instance: InstancePaths) {
    guard journal.changes.isEmpty else { return }
    lock.removeFile()
    instance.removeRunDirectoryIfEmpty()
}

/// Turns every way in which the kernel says "not you" into the one error that the caller tells apart.
private func namingPrivilege<Result>(_ body: () throws -> Result) throws -> Result {
    do {
        return try body()
    } catch let error as any KernelError where error.isMissingPrivilege {
        throw RealServerSetupError.missingPrivilege("\(error)")
    }
}
