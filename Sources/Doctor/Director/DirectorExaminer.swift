public import Addresses
import BPF
import Glibc
public import HostState
import Netlink

/// The examination of a director, which gathers the facts for its diagnosis. It reads the machine's state and sends
/// probes, and changes nothing.
public struct DirectorExaminer {
    /// The state of the director according to the daemon, or else to the maps of the data plane.
    public struct Claim: Sendable {
        public var isDaemonRunning: Bool
        public var interfaces: [String]
        public var vips: [IPAddress]
        /// The real servers behind the tunnel. `downReason` is nil for a server that is up.
        public var servers: [(address: IPAddress, downReason: String?)]
        public var strays: [DirectorFacts.Stray]
        /// The priority of the tc programs that count stray packets.
        public var strayPriority: UInt32
        /// The changes in the director's journal. Nil: the journal cannot be read.
        public var changes: [Change]?

        public init(
            isDaemonRunning: Bool, interfaces: [String], vips: [IPAddress],
            servers: [(address: IPAddress, downReason: String?)], strays: [DirectorFacts.Stray],
            strayPriority: UInt32, changes: [Change]?
        ) {
            self.isDaemonRunning = isDaemonRunning
            self.interfaces = interfaces
            self.vips = vips
            self.servers = servers
            self.strays = strays
            self.strayPriority = strayPriority
            self.changes = changes
        }
    }

    private let claim: Claim
    private let probes: Probes

    public init(_ claim: Claim, timeoutMilliseconds: Int32 = 600) {
        self.claim = claim
        probes = Probes(timeoutMilliseconds: timeoutMilliseconds)
    }

    /// The features that merge frames, by the kernel's name and the name in `ethtool -K`.
    private static let merging = [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw")]
    private static let mergingBelow = [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw"), ("rx-gro", "gro")]

    public func examine() throws -> Report {
        var facts = DirectorFacts()
        let unchecked = Unchecked()
        let socket = try RouteSocket()
        let links = try socket.links()
        facts.isDaemonRunning = claim.isDaemonRunning
        facts.vips = claim.vips
        facts.strays = claim.strays
        facts.firewalls = Firewall.present(unchecked)
        facts.interfaces = claim.interfaces.compactMap { name in
            links.first { $0.name == name }.flatMap { link in
                unchecked.examine("interface \(name)") { try interface(link, among: links) }
            }
        }
        facts.servers = claim.servers.map { claimed in
            unchecked.examine("the way to the real server \(claimed.address)") {
                try server(claimed.address, claimed.downReason, links, socket)
            } ?? .init(address: claimed.address, downReason: claimed.downReason, interface: nil, isWayKnown: false)
        }
        let addresses = try socket.addresses()
        let realServers = macs(of: facts.servers, links, socket, unchecked)
        for vip in claim.vips {
            let ways = links.filter { link in
                link.isEthernet && link.isUp && link.name != "ipvsd0" && link.name != "ipvsd1"
                    && addresses.contains {
                        $0.interface == link.index && $0.prefixLength < 32 && $0.network.contains(vip)
                    }
            }
            for link in ways {
                let owners = unchecked.examine("the answers to ARP for \(vip) on \(link.name)") {
                    try probes.owners(of: vip, on: link)
                }
                guard let owners else { continue }
                // The director's other interfaces on the same link may answer.
                var macs = owners.filter { mac in !links.contains { $0.address == mac } }
                if macs.count == 1, !isHolder(of: vip, addresses), !realServers.contains(macs[0]) { macs = [] }
                facts.vipOwners.append((vip, link.name, macs))
            }
            if ways.isEmpty { unchecked.add("the answers to ARP for \(vip): no interface has its subnet") }
        }
        if let changes = claim.changes {
            facts.missingVIPs = Self.missingVIPs(changes, links, addresses)
            let isStray = { (change: Change) in
                if case .filter(_, _, claim.strayPriority, _) = change { true } else { false }
            }
            facts.checkPath =
                unchecked.examine("the path of checks") {
                    let answering = Self.interfacesOfAnswers(claim, changes, links, facts.servers)
                    return try checkPath(
                        changes.filter { !isStray($0) && Self.takesPart($0, links, answering) }, links, addresses,
                        socket,
                        unchecked)
                } ?? .init()
            facts.unwatchedInterfaces = Self.missingPrograms(changes.filter(isStray), links, socket, unchecked)
                .map(\.interface)
        } else {
            unchecked.add("the director's addresses, devices and programs in this machine: its journal cannot be read")
        }
        unchecked.examine("the kernel's settings and limits") { try limits(&facts, unchecked) }
        return Report(side: .director, findings: facts.findings(), unchecked: unchecked.reasons)
    }

    // MARK: The director's addresses, devices and programs

    private static func missingVIPs(
        _ changes: [Change], _ links: [Link], _ addresses: [InterfaceAddress]
    ) -> [(vip: IPAddress, interface: String)] {
        changes.compactMap { change in
            guard case .address(let interface, let vip, _, _) = change,
                !addresses.contains(where: { $0.address == vip })
            else { return nil }
            return (vip, name(of: interface, links))
        }
    }

    /// Returns the interface's present name.
    private static func name(of interface: Change.Interface, _ links: [Link]) -> String {
        interface.find(among: links)?.name ?? interface.name
    }

    /// Returns the interfaces where answers to checks come in: ipvsd0 and the interfaces of the VIPs and of the routes
    /// to real servers. A missing program on another interface is not a fault.
    private static func interfacesOfAnswers(
        _ claim: Claim, _ changes: [Change], _ links: [Link], _ servers: [DirectorFacts.Server]
    ) -> Set<String> {
        let homes = changes.compactMap { change in
            if case .address(let interface, _, _, _) = change { name(of: interface, links) } else { nil }
        }
        return Set(claim.interfaces + homes + servers.compactMap(\.interface) + ["ipvsd0"])
    }

    private static func takesPart(_ change: Change, _ links: [Link], _ interfaces: Set<String>) -> Bool {
        if case .filter(let place, _, _, _) = change { interfaces.contains(name(of: place, links)) } else { true }
    }

    private func checkPath(
        _ changes: [Change], _ links: [Link], _ addresses: [InterfaceAddress], _ socket: RouteSocket,
        _ unchecked: Unchecked
    ) throws -> DirectorFacts.CheckPath {
        var path = DirectorFacts.CheckPath()
        path.carriesChecks = changes.contains { if case .filter = $0 { true } else { false } }
        for name in ["ipvsd0", "ipvsd1"] {
            switch links.first(where: { $0.name == name })?.isUp {
            case nil: path.devices.append("\(name) is missing")
            case false?: path.devices.append("\(name) is down")
            case true?: break
            }
        }
        guard let device = links.first(where: { $0.name == "ipvsd0" }) else { return path }
        if !addresses.contains(where: { $0.interface == device.index }) {
            path.missing.append("ipvsd0 has no address, for which its rp_filter drops everything")
        }
        path.missing += Self.missingPrograms(changes, links, socket, unchecked).map { name, direction in
            "no \(direction) program of checks is on \(name)"
        }
        func value(_ key: String) throws -> Int { Int(try Sysctl.read("net/ipv4/conf/\(key)")) ?? 0 }
        path.reversePathFilter = max(try value("all/rp_filter"), try value("ipvsd0/rp_filter"))
        path.acceptsLocal = try value("ipvsd0/accept_local") != 0
        path.forwards = try value("ipvsd0/forwarding") != 0
        return path
    }

    private static func missingPrograms(
        _ changes: [Change], _ links: [Link], _ socket: RouteSocket, _ unchecked: Unchecked
    ) -> [(interface: String, direction: BPFProgram.TrafficControlHook.Direction)] {
        changes.compactMap { change in
            guard case .filter(let place, let direction, let priority, let handle) = change,
                let link = place.find(among: links),
                let present = unchecked.examine(
                    "the tc programs on \(link.name)",
                    { try socket.filters(interface: link.index, ingress: direction == .ingress) })
            else { return nil }
            return present.contains { $0 == (priority, handle) } ? nil : (link.name, direction)
        }
    }

    private func interface(_ link: Link, among links: [Link]) throws -> DirectorFacts.Interface {
        let below = links.filter { $0.master == link.index || $0.index == link.lower }
        return DirectorFacts.Interface(
            name: link.name, kind: link.kind, mtu: link.mtu,
            mode: try XDPAttachment.of(interface: link.index)?.mode.rawValue,
            merging: try features(Self.merging, of: link),
            mergingBelow: try below.flatMap { try features(Self.mergingBelow, of: $0) },
            vrf: links.first { $0.index == link.master && $0.kind == "vrf" }?.name)
    }

    /// Returns the features of the link that are on, such as "lro of eth0".
    private func features(_ features: [(String, String)], of link: Link) throws -> [String] {
        try features.filter { try Offload.isOn($0.0, of: link.name) == true }.map { "\($0.1) of \(link.name)" }
    }

    private func server(
        _ address: IPAddress, _ downReason: String?, _ links: [Link], _ socket: RouteSocket
    ) throws -> DirectorFacts.Server {
        guard let route = try socket.route(to: address),
            let link = links.first(where: { $0.index == route.interface })
        else {
            return DirectorFacts.Server(address: address, downReason: downReason, interface: nil, isResolved: false)
        }
        let hop = route.gateway ?? address
        var isResolved = route.isLocal || !link.isEthernet || link.noARP
        if !isResolved {
            let entry = try socket.neighbour(hop, on: link.index)
            if hop.family == .v4 {
                // An entry of the table may be old, so ARP is probed. A static entry counts without an answer.
                isResolved = try !probes.owners(of: hop, on: link).isEmpty || entry?.isStatic == true
            } else {
                isResolved = entry?.isUsable == true
            }
        }
        return DirectorFacts.Server(
            address: address, downReason: downReason, source: route.isLocal ? nil : route.source, nextHop: hop,
            interface: link.name, isResolved: isResolved)
    }

    /// Whether this director has the VIP, or had put it on an interface.
    private func isHolder(of vip: IPAddress, _ addresses: [InterfaceAddress]) -> Bool {
        addresses.contains { $0.address == vip }
            || claim.changes?.contains { if case .address(_, vip, _, _) = $0 { true } else { false } } ?? false
    }

    /// Returns the MAC addresses of the real servers that need no gateway, from the neighbour tables.
    private func macs(
        of servers: [DirectorFacts.Server], _ links: [Link], _ socket: RouteSocket, _ unchecked: Unchecked
    ) -> Set<MACAddress> {
        Set(
            servers.compactMap { server in
                guard server.nextHop == server.address,
                    let link = links.first(where: { $0.name == server.interface })
                else { return nil }
                return unchecked.examine("the neighbour entry of the real server \(server.address)") {
                    try socket.neighbour(server.address, on: link.index)?.linkAddress
                } ?? nil
            })
    }

    private func limits(_ facts: inout DirectorFacts, _ unchecked: Unchecked) throws {
        let jit = "net/core/bpf_jit_enable"
        facts.jit = Sysctl.exists(jit) ? Int(try Sysctl.read(jit)) : nil
        if facts.jit == nil { unchecked.add("net.core.bpf_jit_enable: this network namespace does not have it") }
        let unprivileged = "kernel/unprivileged_bpf_disabled"
        if Sysctl.exists(unprivileged) { facts.unprivilegedDisabled = Int(try Sysctl.read(unprivileged)) }
        facts.hasBPFFilesystem = BPFFilesystem.find() != nil
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue), &limit) == 0, limit.rlim_cur != rlim_t.max {
            facts.lockedMemory = UInt64(limit.rlim_cur)
        }
        var system = utsname()
        if uname(&system) == 0 {
            let release = withUnsafeBytes(of: system.release) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
            if numbers.count == 2 { facts.kernel = (numbers[0], numbers[1]) }
        }
        facts.missingCapabilities = Capability.allCases.filter { !$0.isHeld }.map(\.rawValue)
    }
}
