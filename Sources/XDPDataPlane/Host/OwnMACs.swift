internal import Addresses
internal import Netlink

/// The MACs to which frames for the director are sent.
struct OwnMACs {
    /// MACs of the interfaces, and of the devices on them.
    var own: [MACAddress] = []
    /// MACs of macvlans on the interfaces where neither of the two has one of the VIPs now, as on keepalived's backup.
    var idle: [MACAddress] = []

    /// `holders`: the interfaces that have a VIP. Nil: the director itself puts the VIPs on the interfaces, and what comes
    /// to a device on one of them is for the director.
    init(of interfaces: [Link], in tree: LinkTree, holders: Set<Int32>?) {
        for link in interfaces {
            for receiver in tree.receivers(of: link) {
                guard let address = receiver.address else { continue }
                let isOwn =
                    receiver.kind != "macvlan" || interfaces.contains { $0.index == receiver.index }
                    || holders.map { !$0.isDisjoint(with: [receiver.index, link.index]) } ?? true
                if isOwn, !own.contains(address) { own.append(address) }
                if !isOwn, !idle.contains(address) { idle.append(address) }
            }
        }
        idle.removeAll(where: own.contains)
    }
}
