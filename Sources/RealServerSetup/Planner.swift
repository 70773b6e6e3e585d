import HostState
import LoadBalancing
import Netlink
import SystemCalls

/// Compares the machine with the real server that it shall be. Reads only.
struct Planner {
    let vips: [IPv4Address]
    let mss: MSSPolicy
    /// Where tunnelled packets come in; empty: every Ethernet interface that is up and has an IPv4 address.
    let interfaces: [String]
    /// False once the kernel's ipip turned out not to work.
    let mayUseKernelTunnel: Bool
    let machine: Machine
    let bootSetup: BootSetup?

    func steps() throws -> [Step] {
        let usesStandIn = try usesStandIn()
        // Answering ARP for the VIP, or naming it in requests, would draw its traffic past the director: so first.
        // networkd would take the VIPs away: so it is told before.
        return try (bootSetup?.steps() ?? []) + arpSteps() + deviceSteps(usesStandIn) + filterSteps()
            + [upStep].compactMap(\.self) + addressSteps() + (usesStandIn ? programSteps() : []) + routeSteps()
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
        if usesStandIn {
            let description = "create \(Names.device) (TUN device, as this kernel has no ipip)"
            return [Step(action: .createTUN, description: description)]
        }
        let load = Step(action: .loadModule(Names.module), description: "load kernel module \(Names.module)")
        let create = Step(action: .createTunnel, description: "create \(Names.device) (kernel ipip)")
        return KernelModule.isPresent(Names.module) ? [create] : [load, create]
    }

    private var upStep: Step? {
        machine.tunnel?.isUp == true ? nil : Step(action: .setUp, description: "set \(Names.device) up")
    }

    private func addressSteps() -> [Step] {
        vips.filter { vip in !(machine.tunnel.map { machine.hasAddress(vip, on: $0) } ?? false) }
            .map { Step(action: .addAddress($0), description: "add address \($0)/32 to \(Names.device)") }
    }

    private func programSteps() throws -> [Step] {
        try ingressInterfaces().filter { name in
            !(machine.tunnel.map { machine.hasProgram(on: name, for: $0) } ?? false)
        }.map {
            Step(
                action: .attachProgram(interface: $0),
                description: "attach program decapsulate to ingress of \($0)")
        }
    }

    private func ingressInterfaces() throws(RealServerSetupError) -> [String] {
        for name in interfaces {
            guard let link = machine.links.first(where: { $0.name == name }) else {
                throw .noInterface("no interface \(name)")
            }
            guard link.isEthernet else { throw .noInterface("\(name) is no Ethernet interface") }
        }
        if !interfaces.isEmpty { return interfaces }
        let found = machine.links.filter { link in
            link.isEthernet && link.isUp && machine.addresses.contains { $0.interface == link.index }
        }.map(\.name)
        if found.isEmpty { throw .noInterface("no Ethernet interface is up and has an IPv4 address") }
        return found
    }

    // MARK: Parameters

    private func arpSteps() throws -> [Step] {
        try [
            // 1: only for addresses of the interface that was asked on; 2 and 8 are stricter still.
            sysctlStep("arp_ignore", of: "all", to: "1", unless: ["1", "2", "8"]),
            // 2: the best address of the outgoing interface, whatever the packet's source is.
            sysctlStep("arp_announce", of: "all", to: "2", unless: ["2"]),
        ].compactMap(\.self)
    }

    /// Strict reverse-path filtering (1) drops every client's packet on tunl0, as the way back is another interface. The
    /// kernel takes the larger of all's and the device's value, and 2 is larger than 1.
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
        return Step(action: .setSysctl(key: key, value: value), description: "set sysctl \(key) to \(value)")
    }

    // MARK: Routes

    private func routeSteps() throws -> [Step] {
        let replies = ReplyRoutes(policy: mss, machine: machine)
        let routes = try replies.desired()
        let rules = replies.desiredRules(for: vips)
        let isOff = mss == .off
        let staleRules = isOff ? machine.ownRules : []
        let staleRoutes = machine.ownRoutes.filter { !routes.contains($0) }
        return staleRules.map { Step(action: .removeRule($0), description: "remove rule \($0)") }
            + staleRoutes.map { Step(action: .removeRoute($0), description: "remove \(describe($0))") }
            + routes.filter { !machine.ownRoutes.contains($0) }
            .map { Step(action: .addRoute($0), description: "add \(describe($0))") }
            + rules.filter { !machine.ownRules.contains($0) }
            .map { Step(action: .addRule($0), description: "add rule \($0)") }
    }

    private func describe(_ route: Route) -> String {
        "route \(route.destinationDescription) to table \(route.table)" + (route.gateway.map { " via \($0)" } ?? "")
            + (route.interface.flatMap { machine.link(index: $0) }.map { " dev \($0.name)" } ?? "")
            + (route.advmss.map { " advmss \($0)" } ?? "")
    }
}
