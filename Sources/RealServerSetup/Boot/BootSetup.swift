public import Addresses
import Glibc
import HostState
import SystemCalls

/// What has the set-up made again when the machine starts. Whoever runs the host's network calls the same command as
/// the operator did, with the VIPs out of a file: interfaces and their MTUs are known only when the network is up.
public struct BootSetup: Sendable {
    public var manager: HostManager
    /// All that are to be there after a start.
    public var vips: [IPAddress]
    /// An absolute path.
    public var program: String
    /// Of `realserver-setup`, besides the VIPs.
    public var arguments: [String]
    /// A name in /run/netns; nil: the machine's own network namespace.
    public var namespace: String?
    /// Without it ifup's script does all.
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

    /// One VIP a line; `realserver-setup --vip-file` reads it.
    public static func vipFile(namespace: String?) -> String { "/etc/ipvsd/realserver\(suffix(namespace)).vips" }

    private static func suffix(_ namespace: String?) -> String { namespace.map { "-\($0)" } ?? "" }

    private static func unit(_ namespace: String?) -> String { "\(name)\(suffix(namespace)).service" }

    /// In the order in which they are to be written.
    var files: [BootFile] {
        let unitFiles = [
            text(Self.unitPath(namespace), unitText),
            BootFile(path: Self.wantsPath(namespace), contents: .link(to: Self.unitPath(namespace))),
        ]
        // nftables.service has to do with the machine's own network alone.
        let dropIn = namespace == nil ? [text(Self.packetFilterPath, packetFilterText)] : []
        let list = Self.list(of: vips, namespace: namespace)
        return switch manager {
        case .unit: [list] + unitFiles + dropIn
        case .networkd: [list, text(Self.networkPath, networkText)] + unitFiles + dropIn
        case .ifupdown:
            [list, text(Self.hookPath, hookText, isExecutable: true)] + (hasSystemd ? unitFiles + dropIn : [])
        }
    }

    /// Every path that one of ours may have, whatever it was that ran the host when it was written.
    static func paths(namespace: String?) -> [String] {
        let shared = namespace == nil ? [networkPath, networkdPath, hookPath, packetFilterPath] : []
        return [vipFile(namespace: namespace)] + shared + [unitPath(namespace), wantsPath(namespace)]
    }

    static func unitPath(_ namespace: String?) -> String { "/etc/systemd/system/\(unit(namespace))" }
    private static func wantsPath(_ namespace: String?) -> String {
        "/etc/systemd/system/multi-user.target.wants/\(unit(namespace))"
    }
    static let packetFilterPath = "/etc/systemd/system/nftables.service.d/\(name).conf"
    // Before any other, as the first that matches counts.
    private static let networkPath = "/etc/systemd/network/00-\(name).network"
    /// Of older versions, by which networkd left routing rules alone.
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

    /// Retried for as long as it takes, as an interface or a network namespace may come later; not with a bad value (64).
    private var unitText: String {
        // ifup's script may be at work.
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
            # Its start and its reload flush the rules that lower the MSS.
            [Service]
            ExecStartPost=\(restart)
            ExecReload=\(restart)

            """
    }

    /// A word of a command line of systemd.service(5).
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

    /// Not a stanza for tunl0: `source interfaces.d/*` stands first, and interfaces that come later count, too.
    private var hookText: String {
        """
        # ifup(8) calls this for each interface that comes up, as its MTU may be new.
        [ "$MODE" = start ] && [ "$IFACE" != lo ] || exit 0
        exec flock -w 30 \(Self.lockPath) \(command.map(Self.shellWord).joined(separator: " "))

        """
    }

    /// A word of sh(1).
    static func shellWord(_ word: String) -> String {
        let plain = word.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "/.-_=,+:".contains($0)) }
        let parts = word.split(separator: "'", omittingEmptySubsequences: false)
        return plain && !word.isEmpty ? word : "'" + parts.joined(separator: "'\\''") + "'"
    }
}

/// Who sets up the network when the machine starts, and so by whom a real server's set-up outlives a restart.
public enum HostManager: String, CaseIterable, Sendable {
    /// systemd-networkd: our own unit, and networkd told to leave tunl0 alone.
    case networkd
    /// ifup(8): a script that it calls for every interface that comes up, and our own unit.
    case ifupdown
    /// systemd under any other manager, or none: our own unit.
    case unit

    /// Nil where none of them runs, as in a container without an init of its own.
    public static var running: HostManager? { detect(exists: File.exists, read: { try? File.read($0) }) }

    static func detect(exists: (String) -> Bool, read: (String) -> [UInt8]?) -> HostManager? {
        if exists("/run/systemd/system"), exists("/run/systemd/netif/state") { return .networkd }
        if hasBroughtUp(read("/run/network/ifstate")), exists("/etc/network/if-up.d") { return .ifupdown }
        // sd_booted(3)
        return exists("/run/systemd/system") ? .unit : nil
    }

    public static var hasSystemd: Bool { File.exists("/run/systemd/system") }

    /// Whether ifup's list, lines of INTERFACE=STANZA, holds more than the loopback.
    private static func hasBroughtUp(_ state: [UInt8]?) -> Bool {
        String(decoding: state ?? [], as: UTF8.self).split(separator: "\n").contains { !$0.hasPrefix("lo=") }
    }
}
