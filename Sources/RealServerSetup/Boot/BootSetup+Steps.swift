import Addresses
import Glibc
import HostState
import SystemCalls

extension BootSetup {
    /// Returns the steps that write files that are missing or differ, and remove files that are no longer needed.
    /// Throws a conflict where ipvsd did not write the present file.
    func steps() throws(RealServerSetupError) -> [Step] {
        let differing = files.filter { !$0.isWritten }
        for file in differing where (File.exists(file.path) || File.link(file.path) != nil) {
            guard BootFile.isOurs(file.path) else {
                throw .conflict("\(file.path) is there, and ipvsd did not write it")
            }
        }
        // These files are for another manager, which ran the host's network before.
        let stale = Self.paths(namespace: namespace).filter { path in
            !files.contains { $0.path == path } && BootFile.isOurs(path)
        }
        let steps = differing.map { Step.write($0) } + stale.map { .removeFile($0) }
        return steps + (steps.isEmpty || !HostManager.hasSystemd ? [] : [.reload])
    }

    /// Returns the files of earlier runs for this network namespace, with their directories, as changes. The files
    /// outlive a restart of the machine, and the journal does not.
    static func present() -> [Change] {
        let namespace = InstancePaths.isInitialNetworkNamespace ? nil : InstancePaths.networkNamespaceName
        guard InstancePaths.isInitialNetworkNamespace || namespace != nil else { return [] }
        let paths = paths(namespace: namespace).filter(BootFile.isOurs)
        // The directories that ipvsd may have created. They are undone last, and only if they are empty.
        let directories =
            [vipFile(namespace: namespace), networkdPath, packetFilterPath].filter(paths.contains)
            .map(File.parent(of:))
        return directories.map { .directory(path: $0) } + paths.map { .file(path: $0) }
    }

    /// Returns the VIPs that the boot files set up.
    static func presentVIPs() -> [IPAddress] { presentList?.vips ?? [] }

    /// Whether the boot files set up some of these VIPs, and no others.
    static func isOnly(_ vips: [IPAddress]) -> Bool {
        let present = presentVIPs()
        return !present.isEmpty && Set(present).isSubset(of: vips)
    }

    /// Removes VIPs from the boot files. If no other VIP would be left there, changes nothing.
    static func remove(_ vips: [IPAddress]) throws {
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

    /// Enters the present boot files into the journal.
    static func adopt(into journal: ChangeJournal) throws {
        for change in present() { try journal.make(change) {} }
    }

    /// Stops the units of the journal's files, and calls `body`, which undoes the journal. Then has systemd read its
    /// files again.
    static func reloading<Result>(_ journal: ChangeJournal, _ body: () throws -> Result) rethrows -> Result {
        let files = journal.changes.compactMap { if case .file(let path) = $0 { path } else { nil } }
        let units = files.filter { $0.hasPrefix("/etc/systemd/system/") && $0.hasSuffix(".service") }
            .compactMap { $0.split(separator: "/").last.map(String.init) }
        for unit in Set(units) where File.exists("/run/systemd/system") {
            // The unit does nothing when it stops. `systemctl status` shows that it is inactive.
            _ = Command.status("systemctl", ["stop", unit])
        }
        let result = try body()
        if files.contains(where: { $0.hasPrefix("/etc/systemd/") }) { HostManager.reload() }
        return result
    }
}

extension HostManager {
    /// Has systemd and networkd read their files again, if they run.
    static func reload() {
        guard hasSystemd else { return }
        _ = Command.status("systemctl", ["daemon-reload"])
        if File.exists("/run/systemd/netif/state") { _ = Command.status("networkctl", ["reload"]) }
    }
}
