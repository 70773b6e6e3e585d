public import Addresses
import Glibc
import HostState
import SystemCalls

/// The set-up of a real server when the machine starts. Interfaces and their MTUs are known only when the network is
/// up. So the manager of the host's network runs `realserver-setup` again, with the VIPs from a file.
public struct BootSetup: Sendable {
    public var manager: HostManager
    /// All VIPs that are set up at a start.
    public var vips: [IPAddress]
    /// The absolute path of ipvsd.
    public var program: String
    /// The arguments of `realserver-setup` besides the VIPs.
    public var arguments: [String]
    /// The network namespace's name in /run/netns, or nil for the machine's first network namespace.
    public var namespace: String?
    /// Whether systemd runs. If not, the script of ifup(8) alone sets up the real server.
    var hasSystemd = HostManager.hasSystemd

    public init(
        manager: HostManager, vips: [IPAddress], program: String, arguments: [String] = [], namespace: String? = nil
    ) {
        self.manager = manager
        self.vips = vips
        self.program = program
        self.arguments = arguments
        self.namespace = namespace
    }

    static let name = "ipvsd-realserver"

    /// Returns the path of the file with one VIP on each line, which `realserver-setup --vip-file` reads.
    public static func vipFile(namespace: String?) -> String { "/etc/ipvsd/realserver\(suffix(namespace)).vips" }

    private static func suffix(_ namespace: String?) -> String { namespace.map { "-\($0)" } ?? "" }

    private static func unit(_ namespace: String?) -> String { "\(name)\(suffix(namespace)).service" }

    /// The files in the order in which they are written.
    var files: [BootFile] {
        let unitFiles = [
            text(Self.unitPath(namespace), unitText),
            BootFile(path: Self.wantsPath(namespace), contents: .link(to: Self.unitPath(namespace))),
        ]
        // nftables.service works in the machine's first network namespace only.
        let dropIn = namespace == nil ? [text(Self.packetFilterPath, packetFilterText)] : []
        let list = Self.list(of: vips, namespace: namespace)
        return switch manager {
        case .unit: [list] + unitFiles + dropIn
        case .networkd: [list, text(Self.networkPath, networkText)] + unitFiles + dropIn
        case .ifupdown:
            [list, text(Self.hookPath, hookText, isExecutable: true)] + (hasSystemd ? unitFiles + dropIn : [])
        }
    }

    /// Returns all paths of files that ipvsd may have written, for any manager.
    static func paths(namespace: String?) -> [String] {
        let shared = namespace == nil ? [networkPath, networkdPath, hookPath, packetFilterPath] : []
        return [vipFile(namespace: namespace)] + shared + [unitPath(namespace), wantsPath(namespace)]
    }

    static func unitPath(_ namespace: String?) -> String { "/etc/systemd/system/\(unit(namespace))" }
    private static func wantsPath(_ namespace: String?) -> String {
        "/etc/systemd/system/multi-user.target.wants/\(unit(namespace))"
    }
    static let packetFilterPath = "/etc/systemd/system/nftables.service.d/\(name).conf"
    // The name sorts before the names of other files, as networkd takes the first file that matches.
    private static let networkPath = "/etc/systemd/network/00-\(name).network"
    /// The path of a file of older versions, by which networkd kept foreign routing rules.
    static let networkdPath = "/etc/systemd/networkd.conf.d/\(name).conf"
    private static let hookPath = "/etc/network/if-up.d/\(name)"

    static func list(of vips: [IPAddress], namespace: String?) -> BootFile {
        let lines = vips.map { "\($0)\n" }.joined()
        return BootFile(
            path: vipFile(namespace: namespace),
            contents: .text(BootFile.header + "# The virtual IPs of this real server.\n" + lines, isExecutable: false))
    }

    private func text(_ path: String, _ text: String, isExecutable: Bool = false) -> BootFile {
        let shell = "#!/bin/sh\n"
        return BootFile(
            path: path,
            contents: .text((isExecutable ? shell : "") + BootFile.header + text, isExecutable: isExecutable))
    }

    private var command: [String] {
        [program, "realserver-setup", "--vip-file", Self.vipFile(namespace: namespace)] + arguments
    }

    // MARK: systemd

    /// The text of the unit. systemd retries it without a limit, as an interface or a network namespace may come later.
    /// It is not retried after exit code 64, which means an invalid value.
    private var unitText: String {
        // The script of ifup(8) may run at the same time.
        let lock = manager == .ifupdown ? "/usr/bin/flock -w 30 \(Self.lockPath) " : ""
        let run = lock + command.map(Self.unitWord).joined(separator: " ")
        return """
            [Unit]
            Description=Real server of an IPVS-style director: tunl0 and the virtual IPs\(namespace.map { " in \($0)" } ?? "")
            Wants=network-online.target
            After=network-online.target

            [Service]
            Type=oneshot
            RemainAfterExit=yes
            ExecStart=\(run)
            Restart=on-failure
            RestartSec=5
            RestartPreventExitStatus=64
            \(namespace.map { "NetworkNamespacePath=/run/netns/\($0)\n" } ?? "")
            [Install]
            WantedBy=multi-user.target

            """
    }

    private var packetFilterText: String {
        let restart = "-/bin/systemctl --no-block restart \(Self.unit(namespace))"
        return """
            # Start and reload of nftables.service flush the rules that lower the MSS.
            [Service]
            ExecStartPost=\(restart)
            ExecReload=\(restart)

            """
    }

    /// Quotes a word for a command line of systemd.service(5).
    static func unitWord(_ word: String) -> String {
        let doubled: [Character: String] = ["%": "%%", "$": "$$", "\\": "\\\\", "\"": "\\\""]
        let text = word.map { doubled[$0] ?? String($0) }.joined()
        return word.contains(where: { $0.isWhitespace || "\"'\\;".contains($0) }) || word.isEmpty ? "\"\(text)\"" : text
    }

    private var networkText: String {
        """
        # systemd-networkd would take the virtual IPs from tunl0 where another file matches it.
        [Match]
        Name=tunl0

        [Link]
        Unmanaged=yes

        """
    }

    // MARK: ifupdown

    private static let lockPath = "/run/lock/\(name)"

    /// The text of the script that ifup(8) calls. A stanza for tunl0 would not do, as `source interfaces.d/*` comes
    /// before the other stanzas. Interfaces that come up later also count.
    private var hookText: String {
        """
        # ifup(8) calls this for each interface that comes up, as its MTU may be new.
        [ "$MODE" = start ] && [ "$IFACE" != lo ] || exit 0
        exec flock -w 30 \(Self.lockPath) \(command.map(Self.shellWord).joined(separator: " "))

        """
    }

    /// Quotes a word for sh(1).
    static func shellWord(_ word: String) -> String {
        let plain = word.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/.-_=,+:".contains($0)) }
        let parts = word.split(separator: "'", omittingEmptySubsequences: false)
        return plain && !word.isEmpty ? word : "'" + parts.joined(separator: "'\\''") + "'"
    }
}

/// The program that sets up the host's network when the machine starts. It then also sets up the real server, by files
/// that ipvsd writes.
public enum HostManager: String, CaseIterable, Sendable {
    /// systemd-networkd. The files are a unit of ipvsd's and a .network file that leaves tunl0 unmanaged.
    case networkd
    /// ifup(8). The files are a script, which ifup calls for each interface that comes up, and with systemd also a unit
    /// of ipvsd's.
    case ifupdown
    /// systemd with another manager of the network, or none. The file is a unit of ipvsd's.
    case unit

    /// The manager of this host. It is nil if none of them runs, as in a container without an init of its own.
    public static var running: HostManager? { detect(exists: File.exists, read: { try? File.read($0) }) }

    static func detect(exists: (String) -> Bool, read: (String) -> [UInt8]?) -> HostManager? {
        if exists("/run/systemd/system"), exists("/run/systemd/netif/state") { return .networkd }
        if hasBroughtUp(read("/run/network/ifstate")), exists("/etc/network/if-up.d") { return .ifupdown }
        // sd_booted(3) looks for the same directory.
        return exists("/run/systemd/system") ? .unit : nil
    }

    public static var hasSystemd: Bool { File.exists("/run/systemd/system") }

    /// Whether the list of ifup(8), lines of INTERFACE=STANZA, has more than the loopback.
    private static func hasBroughtUp(_ state: [UInt8]?) -> Bool {
        String(decoding: state ?? [], as: UTF8.self).split(separator: "\n").contains { !$0.hasPrefix("lo=") }
    }
}
