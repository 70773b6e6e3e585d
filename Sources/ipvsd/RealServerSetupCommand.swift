import Addresses
import ArgumentParser
import Doctor
import HostState
import Netlink
import RealServerSetup
import ServiceConfiguration
import SystemCalls

/// `ipvsd realserver-setup`: the set-up of this machine as a real server, its check and its undoing.
struct RealServerSetupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "realserver-setup",
        abstract: "Set up this machine as a real server.",
        discussion: """
            Sets up tunl0 with the VIPs, ARP, rp_filter and the MSS. May be repeated: what is in place already stays. A \
            later run with another --vip adds it. --persist repeats the set-up when the machine starts. --undo puts back \
            every sysctl, route and device as it was before the first run, and removes the files of --persist. With --vip \
            it takes back these VIPs only, and everything with the last one.

              ipvsd realserver-setup --vip 10.0.0.100
              ipvsd realserver-setup --vip 10.0.0.100 --dry-run
              ipvsd realserver-setup --vip 10.0.0.100 --check
              ipvsd realserver-setup --vip-file /etc/vips --persist
              ipvsd realserver-setup --undo
              ipvsd realserver-setup --undo --vip 10.0.0.101

            Exit codes: 1 faults found (with --check), 64 a bad value, 69 no interface, 71 the kernel refuses, 75 another \
            realserver-setup is at work, 77 no privilege.
            """)

    @Option(
        help: ArgumentHelp(
            "A virtual IP that this machine answers for. Repeats, or takes commas.", valueName: "address"))
    var vip: [String] = []

    @Option(
        help: ArgumentHelp(
            "A file of virtual IPs: one a line, '#' begins a comment. Repeats, also beside --vip.", valueName: "path"))
    var vipFile: [String] = []

    @Flag(help: "Repeat the set-up when the machine starts, by the program that runs this host's network.")
    var persist = false

    @Option(
        help: ArgumentHelp(
            "Repeat it by this program instead: \(PersistOption.accepted).", valueName: "name"))
    var persistBy: String?

    @Option(
        help: ArgumentHelp(
            "The largest TCP segment that clients may send: auto (the MTU less 60), off, or a number of bytes.",
            valueName: "size"))
    var mss = "auto"

    @Option(
        help: ArgumentHelp(
            "Where the kernel has no ipip: an interface that tunnelled packets come in on. Repeats. Default: all that have an address.",
            valueName: "name"))
    var interface: [String] = []

    @Flag(help: "Restore the state before the first run; with --vip, of these VIPs only.")
    var undo = false

    @Flag(help: "Print what would be changed, and change nothing.")
    var dryRun = false

    @Flag(help: "Change nothing, but find faults, as 'ipvsd doctor' does.")
    var check = false

    @OptionGroup(title: "With --check") var doctor: DoctorOptions
    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            try Self.naming {
                let instance = try common.instance()
                if try persistOption != nil, undo || check {
                    let other = undo ? "--undo" : "--check"
                    throw Failure(.badValue, "--persist: beside \(other) (accepted: beside what is to be set up)")
                }
                if undo { return try putBack(instance) }
                try check ? examine(instance) : setUp(instance)
            }
        }
    }

    /// Runs `body`, and gives the set-up's errors their exit codes.
    static func naming(_ body: () throws -> Void) throws {
        do { try body() } catch let error as NetlinkError {
            throw Failure(.kernel, "\(error)")
        } catch let error as RealServerSetupError {
            switch error {
            case .missingPrivilege: throw Failure(.noPrivilege, "\(error)")
            case .noInterface: throw Failure(.interface, "\(error)")
            case .ownAddress: throw Failure(.badValue, "\(error)")
            case .conflict: throw Failure(.kernel, "\(error)")
            case .busy: throw Failure(.alreadyRunning, "\(error)")
            }
        }
    }

    private func examine(_ instance: InstancePaths) throws {
        let vips = try addresses()
        var examiner = try doctor.examiner(vips: vips, mss: try policy())
        let named = try interfaces()
        try requireRoot(to: "look at everything")
        examiner.ownVIPs = try RealServerSetup.knownVIPs(instance: instance)
        examiner.interfaces = named.isEmpty ? try RealServerSetup.ingressInterfaces(instance: instance) : named
        let consultation = Consultation(
            realServer: examiner,
            setup: RealServerSetup(
                vips: vips, mss: try policy(), interfaces: examiner.interfaces, instance: instance),
            options: doctor)
        try consultation.run()
    }

    /// Undoes the set-up of the named VIPs, or of all VIPs where none is named. With --dry-run only prints the changes.
    private func putBack(_ instance: InstancePaths) throws {
        let isForAll = vip.isEmpty && vipFile.isEmpty
        let vips = isForAll ? [] : try addresses()
        if dryRun {
            let changes =
                try isForAll
                ? RealServerSetup.undoable(instance: instance)
                : RealServerSetup.undoable(vips: vips, instance: instance)
            for change in changes { print("would put back: \(change)") }
            if changes.isEmpty { print("nothing to put back") }
            return
        }
        var count = 0
        let report = { (change: Change, error: (any Error)?) in
            count += 1
            print(error.map { "cannot put back \(change): \($0)" } ?? "put back: \(change)")
        }
        let complete =
            try isForAll
            ? RealServerSetup.undo(instance: instance, report: report)
            : RealServerSetup.undo(vips: vips, instance: instance, report: report)
        if count == 0 { print("nothing to put back") }
        if !complete { throw Failure(.kernel, "not everything could be put back; --undo tries again") }
    }

    private func setUp(_ instance: InstancePaths) throws {
        let vips = try addresses()
        let setup = RealServerSetup(
            vips: vips, mss: try policy(), interfaces: try interfaces(), instance: instance,
            bootSetup: try persistOption?.bootSetup(vips, arguments: bootArguments))
        var isChanged = false
        if dryRun {
            for line in try setup.plan().preview {
                isChanged = true
                print(line)
            }
        } else {
            try setup.apply { step in
                isChanged = true
                print(step)
            }
        }
        if !isChanged { print("nothing to change: this machine is set up") }
    }

    private var persistOption: PersistOption? {
        get throws {
            if let persistBy { return try PersistOption(by: persistBy) }
            return persist ? PersistOption() : nil
        }
    }

    /// The arguments, besides the VIPs, with which the set-up at each start runs this command.
    private var bootArguments: [String] {
        (mss == "auto" ? [] : ["--mss", mss]) + interface.flatMap { ["--interface", $0] }
            + (common.instanceName.map { ["--instance", $0] } ?? [])
    }

    private func addresses() throws -> [IPAddress] {
        let addresses = try Self.addresses(vip) + vipFile.flatMap { try PersistOption.addresses(file: $0) }
        if addresses.isEmpty { throw Failure(.badValue, "--vip: none given (accepted: A.B.C.D)") }
        return addresses
    }

    static func addresses(_ values: [String]) throws -> [IPAddress] {
        try values.flatMap { $0.split(separator: ",", omittingEmptySubsequences: false) }.map { text in
            try valid("--vip \(text)") { () throws(InvalidValue) in try AddressText.address(text) }
        }
    }

    private func policy() throws -> MSSPolicy {
        switch mss {
        case "auto": return .auto
        case "off": return .off
        default:
            guard let size = UInt32(mss), (48...65_495).contains(size) else {
                throw Failure(.badValue, "--mss \(mss): no segment size (accepted: auto, off, 48 to 65495)")
            }
            return .value(size)
        }
    }

    private func interfaces() throws -> [String] {
        for name in interface {
            try valid("--interface \(name)") { () throws(InvalidValue) in try InterfaceName.validate(name) }
        }
        return interface
    }
}

/// The meaning of `realserver-setup --persist` and `--persist-by` on this host, in this network namespace.
struct PersistOption {
    static let accepted = HostManager.allCases.map(\.rawValue).joined(separator: ", ")

    /// The program of `--persist-by`; nil: the program that runs this host's network.
    private let manager: HostManager?

    init() { manager = nil }

    init(by text: String) throws {
        guard let manager = HostManager(rawValue: text) else {
            throw Failure(.badValue, "--persist-by \(text): unknown (accepted: \(Self.accepted))")
        }
        self.manager = manager
    }

    /// Returns the set-up to repeat at each start, with the VIPs of earlier runs before the new VIPs.
    func bootSetup(_ vips: [IPAddress], arguments: [String]) throws -> BootSetup {
        let (manager, namespace) = try place()
        guard let program = File.link("/proc/self/exe") else {
            throw Failure(.kernel, "--persist: /proc is not mounted, so that this program's path is unknown")
        }
        let file = BootSetup.vipFile(namespace: namespace)
        let earlier = File.exists(file) ? try Self.addresses(file: file) : []
        return BootSetup(
            manager: manager, vips: earlier + vips.filter { !earlier.contains($0) }, program: program,
            arguments: arguments, namespace: namespace)
    }

    private func place() throws -> (HostManager, namespace: String?) {
        if InstancePaths.isInitialNetworkNamespace {
            guard let manager = manager ?? HostManager.running else {
                throw Failure(
                    .kernel,
                    "--persist: neither systemd nor ifup runs here, so that nothing would set it up after a restart "
                        + "(accepted: this command where the machine or container is started, or --persist-by, for another)"
                )
            }
            return (manager, nil)
        }
        guard let namespace = InstancePaths.networkNamespaceName, InstancePaths.isValid(name: namespace) else {
            throw Failure(
                .kernel,
                "--persist: this network namespace has no name in /run/netns by which it could be found after a restart "
                    + "(accepted: without --persist, where the container is started)")
        }
        guard manager ?? .unit == .unit else {
            throw Failure(
                .badValue,
                "--persist-by \(manager?.rawValue ?? ""): that runs the machine's own network, not namespace \(namespace) (accepted: unit)"
            )
        }
        guard manager != nil || HostManager.hasSystemd else {
            throw Failure(
                .kernel,
                "--persist: systemd does not run here, so that nothing would set up \(namespace) after a restart")
        }
        return (.unit, namespace)
    }

    static func addresses(file: String) throws -> [IPAddress] {
        let text = String(decoding: try read(file), as: UTF8.self)
        do { return try AddressFile.addresses(text, name: file) } catch { throw Failure(.badValue, "\(error)") }
    }

    private static func read(_ file: String) throws -> [UInt8] {
        do { return try File.read(file) } catch {
            throw Failure(.badValue, "--vip-file \(file): \(error) (accepted: a file of one A.B.C.D a line)")
        }
    }
}
