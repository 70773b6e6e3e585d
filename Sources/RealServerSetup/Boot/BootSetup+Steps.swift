import Addresses
import Glibc
import HostState
import SystemCalls

extension BootSetup {
    /// The files that differ from the present ones. A file of somebody else's in the place of one of ours is a conflict.
    func steps() throws(RealServerSetupError) -> [Step] {
        let differing = files.filter { !$0.isWritten }
        for file in differing where (File.exists(file.path) || File.link(file.path) != nil) {
            guard BootFile.isOurs(file.path) else {
                throw .conflict("\(file.path) is there, and ipvsd did not write it")
            }
        }
        // What another manager was given, before this one ran the host.
        let stale = Self.paths(namespace: namespace).filter { path in
            !files.contains { $0.path == path } && BootFile.isOurs(path)
        }
        let steps = differing.map { Step.write($0) } + stale.map { .removeFile($0) }
        return steps + (steps.isEmpty || !HostManager.hasSystemd ? [] : [.reload])
    }

    /// Files of earlier runs, for this network namespace. A restart of the machine leaves files and loses the journal.
    static func present() -> [Change] {
        let namespace = InstancePaths.isInitialNetworkNamespace ? nil : InstancePaths.networkNamespaceName
        guard InstancePaths.isInitialNetworkNamespace || namespace != nil else { return [] }
        let paths = paths(namespace: namespace).filter(BootFile.isOurs)
        // Undone last, and only when empty: those that a machine need not have had before.
        let directories =
            [vipFile(namespace: namespace), networkdPath, packetFilterPath].filter(paths.contains)
            .map(File.parent(of:))
        return directories.map { .directory(path: $0) } + paths.map { .file(path: $0) }
    }

    /// VIPs that are to be there after a start.
    static func presentVIPs() -> [IPAddress] { presentList?.vips ?? [] }

    /// Whether those are some of these, and no others.
    static func isOnly(_ vips: [IPAddress]) -> Bool {
        let present = presentVIPs()
        return !present.isEmpty && Set(present).isSubset(of: vips)
    }

    /// Takes VIPs out of what is made at a start, which makes others, too.
    static func forget(_ vips: [IPAddress]) throws {
        guard let present = presentList, present.vips.contains(where: vips.contains), !isOnly(vips) else { return }
        try list(of: present.vips.filter { !vips.contains($0) }, namespace: present.namespace).write()
    }

    private static var presentList: (vips: [IPAddress], namespace: String?)? {
        let namespace = InstancePaths.isInitialNetworkNamespace ? nil : InstancePaths.networkNamespaceName
        guard InstancePaths.isInitialNetworkNamespace || namespace != nil,
            case .text(let text, _)? = BootFile.present(at: vipFile(namespace: namespace))?.contents
        else { return nil }
        return (text.split(separator: "\n").compactMap { IPv4Address(String($0)).map(IPAddress.v4) }, namespace)
    }

    /// Has the journal know what it no longer does.
    static func adopt(into journal: ChangeJournal) throws {
        for change in present() { try journal.make(change) {} }
    }

    /// Has systemd forget what was removed.
    static func reloading<Result>(_ journal: ChangeJournal, _ body: () throws -> Result) rethrows -> Result {
        let files = journal.changes.compactMap { if case .file(let path) = $0 { path } else { nil } }
        let units = files.filter { $0.hasPrefix("/etc/systemd/system/") && $0.hasSuffix(".service") }
            .compactMap { $0.split(separator: "/").last.map(String.init) }
        for unit in Set(units) where File.exists("/run/systemd/system") {
            // It does nothing at its end; this is for `systemctl status`.
            _ = Command.status("systemctl", ["stop", unit])
        }
        let result = try body()
        if files.contains(where: { $0.hasPrefix("/etc/systemd/") }) { HostManager.reload() }
        return result
    }
}

extension HostManager {
    /// Has systemd and networkd read their files, where they run; they do so at their next start anyway.
    static func reload() {
        guard hasSystemd else { return }
        _ = Command.status("systemctl", ["daemon-reload"])
        if File.exists("/run/systemd/netif/state") { _ = Command.status("networkctl", ["reload"]) }
    }
}
