import Addresses
import HostState
import Netlink
import SystemCalls

/// The comparison of the machine with the wanted real server. It makes the plan, and changes nothing.
struct Planner {
    let vips: [IPAddress]
    let mss: MSSPolicy
    /// The interfaces on which tunnelled packets come in. An empty list means all Ethernet interfaces that are up and
    /// have an IPv4 address.
    let interfaces: [String]
    /// Whether the kernel's ipip may be tried. It is false after ipip has failed.
    let mayUseKernelTunnel: Bool
    let machine: Machine
    /// The VIPs of earlier runs.
    let knownVIPs: [IPAddress]
    let bootSetup: BootSetup?

    func plan() throws -> Plan {
        try refuseAddressesOfOtherDevices()
        let usesStandIn = try usesStandIn()
        // The boot files come first, as networkd would otherwise remove the VIPs. The parameters of ARP come before the
        // addresses. Without them, an ARP answer for the VIP, or an ARP request from the VIP, would draw its traffic
        // past the director.
        return try Plan(
            (bootSetup?.steps() ?? []) + arpSteps() + deviceSteps(usesStandIn) + filterSteps()
                + (machine.tunnel?.isUp == true ? [] : [.setUp(Names.device)]) + addressSteps()
                + (usesStandIn ? programSteps() : []) + segmentSteps())
    }

    /// Refuses a VIP on a device other than tunl0 and lo, as the host would answer ARP for the VIP there. A VIP on lo
    /// is harmless, and common with LVS.
    private func refuseAddressesOfOtherDevices() throws(RealServerSetupError) {
        for entry in machine.addresses where vips.contains(entry.address) {
            guard let link = machine.link(index: entry.interface), !["lo", Names.device].contains(link.name) else {
                continue
            }
            let text = "\(entry.address)/\(entry.prefixLength)"
            if entry.prefixLength < 32, !entry.isSecondary {
                throw .ownAddress(
                    "--vip \(entry.address): this host's own address (\(text) on \(link.name)); a VIP is the address that "
                        + "clients connect to")
            }
            throw .conflict(
                "--vip \(entry.address): \(text) is on \(link.name), where this host answers ARP for it past the director; "
                    + "'ip addr del \(text) dev \(link.name)' first")
        }
    }

    // MARK: Device

    private func usesStandIn() throws -> Bool {
        guard let tunnel = machine.tunnel else {
            return !mayUseKernelTunnel || !KernelModule.isAvailable(Names.module)
        }
        switch tunnel.kind {
        case "ipip": return false
        case "tun" where !tunnel.isEthernet: return true
        default:
            throw RealServerSetupError.conflict(
                "\(Names.device) exists and is no IPIP tunnel, but \(tunnel.kind ?? "a hardware device")")
        }
    }

    private func deviceSteps(_ usesStandIn: Bool) -> [Step] {
        if machine.tunnel != nil { return [] }
        if usesStandIn { return [.createTUN] }
        return KernelModule.isPresent(Names.module) ? [.createTunnel] : [.loadTunnelModule, .createTunnel]
    }

    private func addressSteps() -> [Step] {
        vips.filter { vip in !(machine.tunnel.map { machine.hasAddress(vip, on: $0) } ?? false) }
            .map { .addAddress($0, to: Names.device) }
    }

    private func programSteps() throws -> [Step] {
        try ingressInterfaces().filter { name in
            !(machine.tunnel.map { machine.hasProgram(on: name, for: $0) } ?? false)
        }.map { .attachProgram(to: $0) }
    }

    private func ingressInterfaces() throws(RealServerSetupError) -> [String] {
        var named: [String] = []
        for name in interfaces {
            guard let link = machine.links.called(name) else { throw .noInterface("no interface \(name)") }
            guard link.isEthernet else { throw .noInterface("\(name) is no Ethernet interface") }
            if !named.contains(link.name) { named.append(link.name) }
        }
        if !interfaces.isEmpty { return named }
        let found = machine.lan.map(\.name)
        if found.isEmpty { throw .noInterface("no Ethernet interface is up and has an IPv4 address") }
        return found
    }

    // MARK: Parameters

    private func arpSteps() throws -> [Step] {
        try [
            // 1: answer only for addresses of the interface that the request came in on. 2 and 8 are stricter.
            sysctlStep("arp_ignore", of: "all", to: "1", unless: ["1", "2", "8"]),
            // 2: the sender of an ARP request is the best address of the outgoing interface, whatever the packet's
            // source is.
            sysctlStep("arp_announce", of: "all", to: "2", unless: ["2"]),
        ].compactMap(\.self)
    }

    /// Returns the steps that relax the reverse-path filter. A strict filter (1) drops all clients' packets on tunl0,
    /// as the way back is another interface. The kernel takes the larger value of `all` and the device. So tunl0 gets 0
    /// if `all` has 0, and else 2.
    private func filterSteps() throws -> [Step] {
        let all = Int(try Sysctl.read("net/ipv4/conf/all/rp_filter")) ?? 0
        let source = machine.tunnel == nil ? "default" : Names.device
        let own = Int(try Sysctl.read("net/ipv4/conf/\(source)/rp_filter")) ?? 0
        guard max(all, own) == 1 else { return [] }
        let step = try sysctlStep("rp_filter", of: Names.device, to: all == 0 ? "0" : "2", unless: [])
        return [step].compactMap(\.self)
    }

    private func sysctlStep(
        _ name: String, of interface: String, to value: String, unless accepted: [String]
    ) throws(SystemError) -> Step? {
        let key = "net/ipv4/conf/\(interface)/\(name)"
        if Sysctl.exists(key), accepted.contains(try Sysctl.read(key)) { return nil }
        return .setSysctl(key, to: value)
    }

    // MARK: Segment sizes

    private func segmentSteps() throws(RealServerSetupError) -> [Step] {
        if mss == .off { return removalOfRules + programSteps(for: []) + removalOfCopies }
        let rules = SegmentRules(vips: allVIPs, limits: limits)
        let added: [Step]
        switch machine.segmentRules {
        case .rules(let present) where present.cover(rules): added = programSteps(for: [])
        case .none where !NFTables.accepts(rules.commands): added = programSteps(for: rules.vips)
        case .foreign:
            throw .conflict("nftables' table ip \(SegmentRules.table) is there, and ipvsd did not make it")
        case .none, .rules:
            added = [.lowerSegments(rules)] + programSteps(for: [])
        }
        // The routes and rules of older versions are removed last, once the new rules are there.
        return added + removalOfCopies
    }

    private var allVIPs: Set<IPAddress> { Set(vips + knownVIPs) }

    private var limits: Set<SegmentRules.Limit> {
        if case .value(let bytes) = mss { return [.init(range: nil, size: Int(bytes))] }
        return Set(machine.mtus.compactMap(SegmentRules.Limit.init(mtu:)))
    }

    private var removalOfRules: [Step] {
        guard case .rules = machine.segmentRules else { return [] }
        return [.removeSegmentRules]
    }

    /// Returns the steps that detach and attach programs. Then exactly the wanted VIPs have a program on each LAN
    /// interface.
    private func programSteps(for wanted: Set<IPAddress>) -> [Step] {
        let size: UInt32 = if case .value(let bytes) = mss { bytes } else { 0 }
        return machine.lan.map(\.name).flatMap { name in
            allVIPs.compactMap(\.v4).sorted().flatMap { vip -> [Step] in
                let present = machine.segmentPrograms(of: vip, on: name)
                let isWanted = { (program: SegmentProgram) in wanted.contains(.v4(vip)) && program.size == size }
                let stale = present.filter { !isWanted($0) }.map { Step.detach($0, from: name) }
                guard wanted.contains(.v4(vip)), !present.contains(where: isWanted) else { return stale }
                return stale + [.attach(SegmentProgram(vip: vip, size: size), to: name)]
            }
        }
    }

    private var removalOfCopies: [Step] {
        machine.ownRules.map { .remove($0) } + machine.ownRoutes.map { .remove($0, named: describe($0)) }
    }

    private func describe(_ route: Route) -> String {
        "route \(route.destinationDescription) to table \(route.table)" + (route.gateway.map { " via \($0)" } ?? "")
            + (route.interface.flatMap { machine.link(index: $0) }.map { " dev \($0.name)" } ?? "")
            + (route.advmss.map { " advmss \($0)" } ?? "")
    }
}
