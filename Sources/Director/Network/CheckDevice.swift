internal import BPF
internal import CLinux
internal import DataPlane
internal import HostState
internal import LoadBalancing
internal import Netlink

/// ipvsd0, through which health checks enter the tunnel. Its peer, ipvsd1, gives it a carrier, and takes what the
/// packet program has encapsulated and found too big for its way: coming in on ipvsd0, the kernel forwards and fragments it.
final class CheckDevice {
    static let name = "ipvsd0"
    private static let peer = "ipvsd1"
    /// The largest packet there is.
    private static let mtu: UInt32 = 65535
    /// 192.0.0.8, the IPv4 dummy address of RFC 7600: nobody's.
    private static let dummyAddress = IPv4Address(0xC000_0008)

    let link: Link
    let peer: Link
    private let programs: CheckPrograms?
    private let journal: ChangeJournal

    /// Makes the device, or takes the one that is there.
    init(directory: String, journal: ChangeJournal, checks: Bool) throws {
        let socket = try RouteSocket()
        if try socket.link(named: Self.name) != nil, journal.entry(for: .link(name: Self.name)) == nil {
            throw DirectorError(
                .interface, "create \(Self.name): there is a device of that name already, which is not this director's")
        }
        try journal.make(.link(name: Self.name)) {
            if try socket.link(named: Self.name) == nil { try socket.createVeth(name: Self.name, peer: Self.peer) }
        }
        guard let link = try socket.link(named: Self.name), let peer = try socket.link(named: Self.peer) else {
            throw DirectorError(.kernel, "find \(Self.name) and its peer \(Self.peer)")
        }
        for end in [link, peer] {
            // Nothing of IPv6's own goes out of it. Where the kernel has no IPv6 there is no such key.
            try? Sysctl.write("net/ipv6/conf/\(end.name)/disable_ipv6", "1")
            // Next hops are the business of the program behind it.
            try socket.setARP(false, interface: end.index)
            try socket.setMTU(Self.mtu, interface: end.index)
            try socket.setUp(true, interface: end.index)
        }
        // The outer header would hide an unfinished checksum from the driver.
        _ = clinux_disable_transmit_checksum(Self.name)
        _ = clinux_enable_gro(Self.name)
        // Here alone, whatever net.ipv4.ip_forward says.
        try Sysctl.write("net/ipv4/conf/\(Self.name)/forwarding", "1")
        // Answers come from the VIP, which may be an address of this director.
        try Sysctl.write("net/ipv4/conf/\(Self.name)/accept_local", "1")
        // Loose, which wins over a strict filter for all interfaces; it lets in only what comes to a device that has
        // an address (fib_validate_source).
        try Sysctl.write("net/ipv4/conf/\(Self.name)/rp_filter", "2")
        try socket.addAddress(Self.dummyAddress, prefixLength: 32, to: link.index, scope: RouteScope.host)

        self.link = link
        self.peer = peer
        self.journal = journal
        self.programs = checks ? try CheckPrograms(directory: directory, device: link) : nil
        if checks { try attach(interface: link, direction: .egress) }
    }

    var takesChecks: Bool { programs != nil }

    /// Takes in the answers that arrive on an interface.
    func listen(on interface: Link) throws {
        try attach(interface: interface, direction: .ingress)
    }

    private func attach(interface: Link, direction: BPFProgram.TrafficControlHook.Direction) throws {
        let hook = CheckPrograms.hook(interface: interface.index, direction: direction)
        let hadQdisc = try RouteSocket().hasClsact(interface: interface.index)
        if !hadQdisc { try journal.make(.qdisc(interface: interface.name)) { _ = try hook.createQdisc() } }
        try journal.make(
            .filter(
                interface: interface.name, direction: direction, priority: CheckPrograms.priority,
                handle: CheckPrograms.handle)
        ) {
            if direction == .egress {
                try programs?.attachEgress(device: interface.index)
            } else {
                try programs?.attachIngress(interface: interface.index)
            }
        }
    }
}
