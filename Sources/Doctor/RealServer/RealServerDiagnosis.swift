/// What is wrong with a real server, the root of the matter first. Facts in, findings out.
extension RealServerFacts {
    public func findings() -> [Finding] {
        let all =
            interfaceFindings() + tunnelFindings() + secondTunnelFindings() + addressFindings() + filterFindings()
            + arpFindings() + firewallFindings() + directorFindings() + outerSourceFindings() + returnFindings()
            + echoFindings() + segmentFindings() + serviceFindings() + forwardingFindings()
        // iptables-nft's rules are in nft's list as well.
        var seen: Set<String> = []
        return all.filter { finding in
            let isFirewall = [.firewallTunnel, .firewallInvalid, .firewallVIP, .icmpDropped].contains(finding.fault)
            return seen.insert(isFirewall ? finding.fault.rawValue : finding.fault.rawValue + finding.seen).inserted
        }
    }
}
