internal import Addresses
internal import Netlink
internal import ServiceConfiguration

/// The diagnosis of a director: its findings, computed from the facts.
extension DirectorFacts {
    public func findings() -> [Finding] {
        limitFindings() + daemonFindings() + ownFindings() + interfaces.flatMap(findings) + strayFindings()
            + servers.flatMap(findings)
            + vipOwners.filter { !$0.macs.isEmpty }.map { vip, interface, macs in
                Finding(
                    .vipConflict,
                    "ARP requests for \(vip) on \(interface) are also answered by \(macs.map { "\($0)" }.joined(separator: ", "))",
                    fix:
                        "on the host of that MAC address: ipvsd realserver-setup --vip \(vip), or ip addr del \(vip)/32 dev DEVICE"
                )
            }
    }

    private func daemonFindings() -> [Finding] {
        if isDaemonRunning { return [] }
        return [
            Finding(
                .daemonMissing,
                "the data plane forwards without a daemon: real servers are not checked, and changed routes are not used",
                fix: "\(Self.start); it takes over the data plane")
        ]
    }

    /// The faults of the director's own addresses, devices and programs.
    private func ownFindings() -> [Finding] {
        missingVIPs.map { vip, interface in
            Finding(
                .vipMissing,
                "\(vip), which the director had put on \(interface), is no address of this machine any more: it does not answer ARP for it",
                fix: putBack(
                    "ip addr add \(vip)/32 dev \(interface) scope host",
                    culprit:
                        "systemd-networkd needs KeepConfiguration=static, or Address=\(vip)/32 with Scope=host, for \(interface)"
                ))
        } + checkPathFindings() + firewallFindings()
    }

    private func checkPathFindings() -> [Finding] {
        let own = "net.ipv4.conf.ipvsd0"
        var local: [String] = []
        var settings: [String] = []
        if !checkPath.acceptsLocal {
            local.append("\(own).accept_local is 0")
            settings.append("\(own).accept_local=1")
        }
        var forChecks = checkPath.devices + checkPath.missing + local
        if checkPath.reversePathFilter == 1 {
            forChecks.append(
                "rp_filter of ipvsd0, the larger of its own and all's, is 1: answers from the VIP are dropped")
            settings.append("\(own).rp_filter=2")
        }
        var forFragments = checkPath.devices + local
        if !checkPath.forwards {
            forFragments.append("\(own).forwarding is 0")
            settings.append("\(own).forwarding=1")
        }
        var findings: [Finding] = []
        let fix = putBack(
            settings.isEmpty ? nil : "sysctl -w \(settings.joined(separator: " "))",
            culprit: "the program that changes ipvsd0 or ipvsd1 has to leave them alone")
        if checkPath.carriesChecks, !forChecks.isEmpty {
            findings.append(
                Finding(
                    .checkPathBroken,
                    "\(forChecks.joined(separator: "; ")): no real server can be checked through the tunnel", fix: fix))
        }
        if !forFragments.isEmpty {
            findings.append(
                Finding(
                    .fragmentingBroken,
                    "\(forFragments.joined(separator: "; ")): packets that are too big for the tunnel and may be fragmented are lost",
                    fix: fix))
        }
        return findings
    }

    private func putBack(_ command: String?, culprit: String) -> String {
        isDaemonRunning
            ? "the director puts it back every second, or logs the error (journalctl -u ipvsd); \(culprit)"
            : "\(Self.start); it puts it back" + (command.map { " (meanwhile: \($0))" } ?? "")
    }

    private static let start = "start ipvsd with the flags it had (systemctl start ipvsd)"

    private func findings(of interface: Interface) -> [Finding] {
        var findings: [Finding] = []
        switch interface.mode {
        case nil:
            findings.append(
                Finding(
                    .programNotAttached,
                    "no XDP program is on \(interface.name): packets for the VIP are not forwarded",
                    fix:
                        "restart ipvsd (systemctl restart ipvsd); ip link show \(interface.name) shows another program there"
                ))
        case "generic":
            findings.append(
                Finding(
                    .genericXDP,
                    "XDP is generic on \(interface.name), after the kernel has copied the packet: "
                        + whyGeneric(interface),
                    fix: "remove the reason, then start ipvsd with \(Options.xdp.argument(.native)), whose error names "
                        + "what the driver refuses"))
        default: break
        }
        if let vrf = interface.vrf {
            findings.append(
                Finding(
                    .noRoute,
                    "\(interface.name) is part of the VRF \(vrf), and routes to real servers are looked up outside of it",
                    fix: "ip link set \(interface.name) nomaster, and move its routes to the main table"))
        }
        let merging = interface.merging + (interface.mode == "generic" ? interface.mergingBelow : [])
        if !merging.isEmpty {
            findings.append(
                Finding(
                    .mergedFrames,
                    "\(merging.joined(separator: " and ")) \(merging.count == 1 ? "is" : "are") on: frames that were merged beyond the MTU are dropped",
                    fix: merging.map { feature in
                        let parts = feature.split(separator: " ")
                        return "ethtool -K \(parts.last ?? "") \(parts.first ?? "") off"
                    }.joined(separator: "; ")))
        }
        return findings
    }

    private func strayFindings() -> [Finding] {
        let names = interfaces.map(\.name).joined(separator: ",")
        return strays.map { stray in
            Finding(
                .strayPackets,
                "\(stray.packets) packets for \(stray.vip) came in by \(stray.interface), which has no XDP program, the last at \(stray.last): they went to this machine's own stack, and to no real server",
                fix:
                    "start ipvsd with \(Options.interfaces.flagName) \(names),\(stray.interface), or on clients and routers that send there: ip neigh del \(stray.vip) dev DEVICE"
            )
        }
            + unwatchedInterfaces.map { interface in
                Finding(
                    .strayPackets,
                    "\(interface), which answers ARP for the VIPs, has neither the XDP program nor the program for stray packets",
                    fix: putBack(
                        nil, culprit: "the program that removes the clsact qdisc of \(interface) has to leave it alone")
                )
            }
    }

    private func whyGeneric(_ interface: Interface) -> String {
        if !interface.merging.isEmpty {
            return "\(interface.merging[0]) is on, which drivers refuse together with native XDP"
        }
        if interface.mtu > 3500 {
            return "the MTU is \(interface.mtu), which is more than a page holds in most drivers"
        }
        let flag = Options.xdp.argument(.generic)
        switch interface.kind {
        case nil: return "the driver has no native XDP (ethtool -i \(interface.name)), or \(flag) was given"
        case "veth"?, "tun"?: return "\(flag) was given, as \(interface.kind ?? "") has native XDP"
        case let kind?: return "\(kind) devices have native XDP in some modes only, or \(flag) was given"
        }
    }

    private func findings(of server: Server) -> [Finding] {
        var findings: [Finding] = []
        if server.isWayKnown, server.interface == nil {
            findings.append(
                Finding(
                    .noRoute, "there is no route to the real server \(server.address)",
                    fix: "ip route add \(server.address) via GATEWAY"))
        } else if !server.isResolved, let interface = server.interface {
            let hop = server.nextHop ?? server.address
            let which =
                hop == server.address
                ? "the real server \(hop)" : "\(hop), the gateway to \(server.address),"
            let (how, command) =
                if hop.family == .v4 { ("ARP", "arping -I \(interface) \(hop)") } else {
                    ("neighbour discovery", "ping \(hop)%\(interface)")
                }
            findings.append(
                Finding(
                    .neighbourUnresolved, "\(which) does not answer \(how) on \(interface)",
                    fix: "check cable, VLAN and address of \(hop), then: \(command)"))
        }
        if let source = server.source, vips.contains(source) {
            let via = server.nextHop.flatMap { $0 == server.address ? nil : " via \($0)" } ?? ""
            let device = server.interface.map { " dev \($0)" } ?? ""
            findings.append(
                Finding(
                    .outerSourceVIP,
                    "the kernel chooses \(source), a VIP, as the source of packets to the real server \(server.address), "
                        + "which would drop them: nothing is sent there",
                    fix:
                        "ip route replace \(server.address)\(via)\(device) src ADDRESS, with another address of this machine"
                ))
        }
        if let reason = server.downReason {
            findings.append(
                Finding(
                    .serverDown, "the real server \(server.address) is down: \(reason)",
                    fix: "on \(server.address): ipvsd doctor"))
        }
        return findings
    }

    private func limitFindings() -> [Finding] {
        var findings: [Finding] = []
        if !missingCapabilities.isEmpty {
            let setting = unprivilegedDisabled.map { " (kernel.unprivileged_bpf_disabled is \($0))" } ?? ""
            findings.append(
                Finding(
                    .bpfPrivilege, "this process lacks \(missingCapabilities.joined(separator: ", "))\(setting)",
                    fix:
                        "run ipvsd as root with all capabilities; a container needs \(missingCapabilities.map { "--cap-add \($0)" }.joined(separator: " "))"
                ))
        }
        if jit == 0 {
            findings.append(
                Finding(
                    .jitOff, "net.core.bpf_jit_enable is 0: the packet program is interpreted",
                    fix: "sysctl -w net.core.bpf_jit_enable=1"))
        }
        if !hasBPFFilesystem {
            findings.append(
                Finding(
                    .bpfFilesystem, "no bpffs is mounted: the data plane would not outlive this mount namespace",
                    fix: "mount -t bpf bpf /sys/fs/bpf"))
        }
        // Kernels before 5.11 count BPF maps, above all the flow table, against RLIMIT_MEMLOCK.
        if let lockedMemory, kernel < (5, 11), lockedMemory < 1 << 30 {
            findings.append(
                Finding(
                    .lockedMemory,
                    "RLIMIT_MEMLOCK is \(lockedMemory >> 10) KiB, which is less than BPF maps need on Linux \(kernel.major).\(kernel.minor)",
                    fix: "ulimit -l unlimited before ipvsd starts, or LimitMEMLOCK=infinity in its unit"))
        }
        return findings
    }
}
