import HostState

extension Firewall {
    /// The packet filters of this network namespace; what cannot be read is said in `unchecked`.
    static func present(_ unchecked: Unchecked) -> [Firewall] {
        var firewalls: [Firewall] = []
        var isRead = false
        do {
            if let firewall = Firewall(nft: try Command.output("nft", ["-j", "list", "ruleset"])) {
                firewalls.append(firewall)
            } else {
                unchecked.add("the firewall: nft's output is not understood")
            }
            isRead = true
        } catch Command.Failure.missing(_) {
        } catch {
            unchecked.add("the firewall: \(error)")
            isRead = true
        }
        for name in ["iptables-save", "iptables-legacy-save"] {
            if let text = try? Command.output(name, []) { firewalls.append(Firewall(iptables: text)) }
        }
        if firewalls.isEmpty, !isRead {
            unchecked.add("the firewall: neither nft nor iptables-save is installed")
        }
        return firewalls
    }
}
