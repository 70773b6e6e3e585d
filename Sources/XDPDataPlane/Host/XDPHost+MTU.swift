internal import BPF
internal import DataPlane
internal import Glibc
internal import Netlink

/// MTUs that native XDP is possible with.
extension XDPHost {
    /// Drivers have whole frames in one page for native XDP: for a veth those that its peer sends, with 256 bytes and the
    /// Ethernet header before and a skb_shared_info (320 bytes) behind (veth_xdp_set); others take a little more or less.
    private static let largestMTU = UInt32(sysconf(Int32(_SC_PAGESIZE))) - 256 - 14 - 320

    /// Refuses a veth that the kernel would refuse. Other drivers cannot be asked without an attachment.
    static func refuseLargeMTU(of attachment: Attachment, in tree: LinkTree) throws {
        let device = attachment.device
        guard attachment.modes.first == .native, attachment.modes.count == 1,
            try XDPAttachment.of(interface: device.index)?.mode != .native
        else { return }
        let socket = try RouteSocket()
        for member in tree.members(of: device) where member.kind == "veth" {
            guard let mtu = socket.peer(of: member)?.mtu, mtu > largestMTU else { continue }
            throw DataPlaneError(
                .kernel,
                "attach director to \(device.name) in native mode: the MTU of its peer is \(mtu), \(tooLarge(member))")
        }
    }

    static func advice(_ error: BPFError, _ device: Link, _ mode: XDPMode) -> String {
        guard mode == .native, [ERANGE, EINVAL, EOPNOTSUPP].contains(error.code) else { return "" }
        if device.kind == "veth" {
            guard error.code == ERANGE else { return "" }
            return "; the MTU of its peer (here it is \(device.mtu)) is \(tooLarge(device))"
        }
        guard device.mtu > largestMTU else { return "" }
        return "; its MTU of \(device.mtu) is too large for native XDP, where a frame has to fit into a page: at most "
            + "about \(largestMTU), which a veth takes; \(command(device)), or the XDP mode generic, which is slower"
    }

    private static func tooLarge(_ veth: Link) -> String {
        "too large for native XDP, where a frame has to fit into a page: \(largestMTU) is the largest; at both ends: "
            + command(veth)
    }

    private static func command(_ device: Link) -> String { "'ip link set dev \(device.name) mtu \(largestMTU)'" }
}
