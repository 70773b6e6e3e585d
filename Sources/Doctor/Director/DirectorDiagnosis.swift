internal import Addresses
internal import Netlink
internal import ServiceConfiguration

/// What is wrong with a director. Facts in, findings out.
extension DirectorFacts {
    public func findings() -> [Finding] {
        limitFindings() + daemonFindings() + ownFindings() + interfaces.flatMap(findings) + strayFindings()
            + servers.flatMap(findings)
            + vipOwners.filter { !$0.macs.isEmpty }.map { vip, interface, macs in
                Finding(
                    .vipConflict,
                    "\(vip) is answered by ARP on \(interface) also by \(macs.map { "\($0)" }.joined(separator: ", "))",
                    fix:
                        "on the host of that MAC address: ipvsd realserver-setup --vip \(vip), or take the address away"
                )
            }
    }

    private func daemonFindings() -> [Finding] {
        if isDaemonRunning { return [] }
        return [
            Finding(
                .daemonMissing,
                "the data plane forwards without a daemon: nobody checks real servers or follows routes",
                fix: "start ipvsd with the flags it had; it takes over what is there")
        ]
    }

    /// Of what the director itself had put into the machine.
    private func ownFindings() -> [Finding] {
        missingVIPs.map { vip, interface in
            Finding(
                .vipMissing,
                "\(vip), which the director had put on \(interface), is no address of this machine any more: nobody answers ARP for it",
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
        if !checkPath.acceptsLocal { local.append("\(own).accept_local is 0") }
        var forChecks = checkPath.devices + checkPath.missing + local
        if checkPath.reversePathFilter == 1 {
            forChecks.append(
                "rp_filter of ipvsd0, the larger of its own and all's, is 1: answers from the VIP are dropped")
        }
        var forFragments = checkPath.devices + local
        if !checkPath.forwards { forFragments.append("\(own).forwarding is 0") }
        var findings: [Finding] = []
        let fix = putBack(nil, culprit: "whoever sets or removes it has to leave ipvsd0 and ipvsd1 alone")
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
            ? "the director puts it back every second, and its log says what keeps it from that; \(culprit)"
            : "start ipvsd with the flags it had; it puts it back" + (command.map { " (meanwhile: \($0))" } ?? "")
    }

    private func findings(of interface: Interface) -> [Finding] {
        var findings: [Finding] = []
        switch interface.mode {
        case nil:
            findings.append(
                Finding(
                    .programNotAttached,
                    "no XDP program is on \(interface.name): packets for the VIP are not forwarded",
                    fix: "restart ipvsd (or see what removed it: bpftool link; ip link show \(interface.name))"))
        case "generic":
            findings.append(
                Finding(
                    .genericXDP,
                    "XDP is generic on \(interface.name), after the kernel has copied the packet: "
                        + whyGeneric(interface),
                    fix: "mend the reason, then start ipvsd with \(Options.xdp.argument(.native)), which names what "
                        + "the driver refuses"))
        default: break
        }
        if let vrf = interface.vrf {
            findings.append(
                Finding(
                    .noRoute,
                    "\(interface.name) is part of the VRF \(vrf), and routes to real servers are looked up outside of it",
                    fix: "ip link set \(interface.name) nomaster, and have its routes in the main table"))
        }
        let merging = interface.merging + (interface.mode == "generic" ? interface.mergingBelow : [])
        if !merging.isEmpty {
            findings.append(
                Finding(
                    .mergedFrames,
                    "\(merging.joined(separator: " and ")) on: frames arrive merged, longer than any MTU, and are dropped",
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
                "\(stray.packets) packets for \(stray.vip) came in by \(stray.interface), where the XDP program is not, the last at \(stray.last): this machine's own stack has them, and no real server gets them",
                fix:
                    "start ipvsd with \(Options.interfaces.flagName) \(names),\(stray.interface), or have neighbours and routers forget the MAC of \(stray.interface) for \(stray.vip)"
            )
        }
            + unwatchedInterfaces.map { interface in
                Finding(
                    .strayPackets,
                    "no program for stray packets is on \(interface), where the XDP program is not: it answers ARP for the VIPs",
                    fix: putBack(nil, culprit: "whoever removes the clsact qdisc of \(interface) has to leave it alone")
                )
            }
    }

    private func whyGeneric(_ interface: Interface) -> String {
        if !interface.merging.isEmpty { return "\(interface.merging[0]) is on, which drivers refuse together with it" }
        if interface.mtu > 3500 { return "the MTU is \(interface.mtu), more than a page holds in most drivers" }
        let flag = Options.xdp.argument(.generic)
        switch interface.kind {
        case nil: return "the driver has no native XDP (ethtool -i \(interface.name)), or \(flag) was asked for"
        case "veth"?, "tun"?: return "\(flag) was asked for, as \(interface.kind ?? "") has native XDP"
        case let kind?: return "\(kind) devices have no native XDP in every mode, or \(flag) was asked for"
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
                    fix: "look at cable, VLAN and address of \(hop); \(command)"))
        }
        if let source = server.source, vips.contains(source) {
            findings.append(
                Finding(
                    .outerSourceVIP,
                    "the kernel chooses \(source), a VIP, as the source of packets to the real server \(server.address), "
                        + "which would drop them: nothing is sent there",
                    fix: "give this machine another address, or the route a source: ip route change … src ADDRESS"))
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
                    fix: "run as root with all capabilities: container --cap-add, or AmbientCapabilities= of the unit"))
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
        // RLIMIT_MEMLOCK's use by BPF ended with 5.11; the flow table is the largest thing.
        if let lockedMemory, kernel < (5, 11), lockedMemory < 1 << 30 {
            findings.append(
                Finding(
                    .lockedMemory,
                    "RLIMIT_MEMLOCK is \(lockedMemory >> 10) KiB, less than BPF tables take on Linux \(kernel.major).\(kernel.minor)",
                    fix: "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit"))
        }
        return findings
    }
}
