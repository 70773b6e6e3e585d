import Addresses
import ArgumentParser
import HostState
import ServiceConfiguration
import TunnelSetup

/// `ipvsd tunnel`: point-to-point IPIP tunnels.
struct TunnelCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tunnel",
        abstract: "Add, show and delete point-to-point IPIP tunnels.",
        discussion: """
            For networks joined beside the balancer, by the kernel's ipip. Director and real servers need no such tunnel.

              ipvsd tunnel add site-b --local 192.0.2.1 --remote 198.51.100.1 --address 10.255.0.1 --peer 10.255.0.2
              ipvsd tunnel show
              ipvsd tunnel delete site-b

            Exit codes: 64 a bad value, or a device that may not be deleted, 69 no such tunnel, or the name is taken, 71 \
            the kernel refuses, 75 another tunnel command is at work, 77 no privilege.
            """,
        subcommands: [TunnelAddCommand.self, TunnelShowCommand.self, TunnelDeleteCommand.self])

    /// Runs `body`, and gives the errors of tunnels their exit codes.
    static func naming<Result>(_ body: () throws -> Result) throws -> Result {
        do { return try body() } catch let error as TunnelError {
            let code: Failure.Code =
                switch error {
                case .missingPrivilege: .noPrivilege
                case .notFound, .taken: .interface
                case .refused: .badValue
                case .kernel: .kernel
                case .busy: .alreadyRunning
                }
            throw Failure(code, "\(error)")
        }
    }
}

/// `ipvsd tunnel add`.
struct TunnelAddCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add",
        abstract: "Add an IPIP tunnel between two addresses, and set it up.",
        discussion: """
            May be repeated: a tunnel with these values stays as it is, and missing parts are added. A tunnel with other \
            values is refused, and the error names them.

              ipvsd tunnel add t1 --local 192.0.2.1 --remote 198.51.100.1
              ipvsd tunnel add t1 --local 192.0.2.1 --remote 198.51.100.1 --address 10.255.0.1/30 --ttl 64 --mtu 1400
            """)

    @Argument(help: "The device's name.")
    var name: String

    @Option(help: ArgumentHelp("The outer source address: one of this machine's.", valueName: "address"))
    var local: String

    @Option(help: ArgumentHelp("The outer destination address: the far end.", valueName: "address"))
    var remote: String

    @Option(help: ArgumentHelp("An address for the tunnel device itself.", valueName: "A.B.C.D[/LENGTH]"))
    var address: String?

    @Option(help: ArgumentHelp("Beside --address: the far end's own, which becomes reachable.", valueName: "address"))
    var peer: String?

    @Option(
        help: ArgumentHelp(
            "TTL of the outer header: inherit (from the packet inside), or 1 to 255. Default: inherit, as ip(8) has it.",
            valueName: "number"))
    var ttl: String?

    @Option(
        help: ArgumentHelp("Bytes of a packet inside. Default: the outgoing interface's less 20.", valueName: "bytes"))
    var mtu: String?

    @Flag(help: "Print what would be done, and do nothing.")
    var dryRun = false

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            try TunnelCommand.naming {
                let tunnel = try tunnel()
                let setup = TunnelSetup(instance: try common.instance())
                let plan =
                    try dryRun
                    ? setup.plan(tunnel) : setup.add(tunnel) { print($0) }
                if dryRun { for line in plan.preview { print(line) } }
                if plan.isEmpty { print("nothing to change: \(name) is there already") }
                for note in plan.notes { print("note: \(note)") }
            }
        }
    }

    private func tunnel() throws -> PointToPoint {
        try valid("tunnel \(name)") { () throws(InvalidValue) in try InterfaceName.validate(name, isNew: true) }
        if name == TunnelSetup.fallbackName {
            throw Failure(.badValue, "tunnel \(name): the kernel's own, which has no ends (accepted: another name)")
        }
        let local = try host("--local", self.local)
        let remote = try host("--remote", self.remote)
        if local == remote {
            throw Failure(.badValue, "--remote \(remote): the same as --local (accepted: the far end's address)")
        }
        return PointToPoint(
            name: name, local: local, remote: remote, ttl: try outerTTL(), mtu: try innerMTU(), address: try own())
    }

    private func host(_ flag: String, _ text: String) throws -> IPv4Address {
        try valid("\(flag) \(text)") { () throws(InvalidValue) in try AddressText.address(text) }.asIPv4()
    }

    private func own() throws -> PointToPoint.Address? {
        let peer = try self.peer.map { IPAddress.v4(try host("--peer", $0)) }
        guard let text = address else {
            if let peer { throw Failure(.badValue, "--peer \(peer): without --address (accepted: beside --address)") }
            return nil
        }
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        let own = IPAddress.v4(try host("--address", String(parts[0])))
        guard parts.count > 1 else { return PointToPoint.Address(own: own, peer: peer) }
        guard let length = UInt8(parts[1]), (1...32).contains(length), peer == nil || length == 32 else {
            let accepted = peer == nil ? "1 to 32" : "32 beside --peer"
            throw Failure(.badValue, "--address \(text): no prefix length \(parts[1]) (accepted: \(accepted))")
        }
        return PointToPoint.Address(own: own, peer: peer, prefixLength: length)
    }

    private func outerTTL() throws -> UInt8? {
        guard let ttl else { return nil }
        if ttl == "inherit" { return 0 }
        guard let number = UInt8(ttl), number > 0 else {
            throw Failure(.badValue, "--ttl \(ttl): no TTL (accepted: inherit, 1 to 255)")
        }
        return number
    }

    private func innerMTU() throws -> UInt32? {
        guard let mtu else { return nil }
        let accepted = PointToPoint.acceptedMTU
        guard let bytes = UInt32(mtu), accepted.contains(bytes) else {
            throw Failure(
                .badValue, "--mtu \(mtu): no MTU (accepted: \(accepted.lowerBound) to \(accepted.upperBound))")
        }
        return bytes
    }
}

/// `ipvsd tunnel delete`.
struct TunnelDeleteCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete",
        abstract: "Delete an IPIP tunnel; tunl0 and devices of other kinds are refused.",
        discussion: """
            With the last tunnel of 'ipvsd tunnel add' the kernel module goes, too, if that command had loaded it and \
            nothing else uses it.
            """)

    @Argument(help: "The tunnel's name.")
    var name: String?

    @Flag(help: "All tunnels that 'ipvsd tunnel add' added.")
    var all = false

    @Flag(help: "Print what would be deleted, and delete nothing.")
    var dryRun = false

    @OptionGroup var common: CommonOptions

    func run() async throws {
        try await reporting {
            try TunnelCommand.naming {
                guard all == (name == nil) else {
                    throw Failure(.badValue, "tunnel delete: accepted: the name of a tunnel, or --all")
                }
                let setup = TunnelSetup(instance: try common.instance())
                if dryRun {
                    let changes = try setup.deletions(name)
                    for change in changes { print("would delete \(change)") }
                    if changes.isEmpty { print("nothing to delete") }
                } else if let name {
                    try setup.delete(name) { print("deleted \($0)") }
                } else {
                    try deleteAll(setup)
                }
            }
        }
    }

    private func deleteAll(_ setup: TunnelSetup) throws {
        var count = 0
        let complete = try setup.deleteAll { change, error in
            count += 1
            print(error.map { "cannot delete \(change): \($0)" } ?? "deleted \(change)")
        }
        if count == 0 { print("nothing to delete") }
        if !complete { throw Failure(.kernel, "not everything could be deleted; --all tries again") }
    }
}

/// `ipvsd tunnel show`.
struct TunnelShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "List all IPIP tunnels of this network namespace.",
        discussion: """
            The list also has tunnels that 'ipvsd tunnel add' did not add, in the form of 'ip -d address'.

            Exit code 69: there is no tunnel of that name.
            """)

    @Argument(help: "Only the tunnel of that name.")
    var name: String?

    @Flag(help: "Print JSON.")
    var json = false

    func run() async throws {
        try await reporting {
            try TunnelCommand.naming {
                let tunnels = try TunnelSetup.list(name)
                if json { print(try tunnels.json()) } else { for tunnel in tunnels { print(tunnel.text) } }
            }
        }
    }
}
