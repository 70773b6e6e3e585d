internal import DataPlane
internal import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink
internal import ServiceConfiguration

/// The director watches the interfaces that the packet program is not on.
extension Director {
    func watchElsewhere() throws { watchElsewhere(try LinkTree(), try RouteSocket().addresses()) }

    /// What fails is logged: clients' packets come in by the others.
    func watchElsewhere(_ tree: LinkTree, _ addresses: [InterfaceAddress]) {
        guard let current = running else { return }
        let links = Elsewhere.links(current.ingress, in: tree)
        do {
            var restored: [Piece] = []
            for (interface, outcome) in try current.elsewhere.cover(links) {
                let piece = Piece.strayProgram(interface: interface)
                switch outcome {
                case .restored: restored.append(piece)
                case .failed(let error): failed(piece, error)
                }
            }
            told(restored) { _ in { _ in true } }
            if let failure = try setStrayPlaces(links, addresses) { failed(.strayPlaces, failure) }
            try tellOfStrays(tree)
        } catch { failed(.strayPlaces, error) }
    }

    /// Where packets for the VIPs are looked out for, as the machine's addresses are now. Returns what is wrong where some
    /// places are not looked at.
    @discardableResult
    func setStrayPlaces(_ links: [Link], _ addresses: [InterfaceAddress]) throws -> DirectorError? {
        guard let current = running else { return nil }
        let places = Elsewhere.places(
            links, vips: configuration.vips, isOurs: configuration.managesAddress, addresses: addresses
        ) { (try? Sysctl.read("net/ipv4/conf/\($0.name)/forwarding")) == "1" }
        let left = try current.dataPlane.setStrayPlaces(places)
        guard left > 0 else { return nil }
        return DirectorError(
            .kernel,
            "it has room for \(XDPDataPlane.maximumStrayPlaces) pairs of interface and VIP: \(left) are left out, where ARP is answered and packets are not counted"
        )
    }

    private func tellOfStrays(_ tree: LinkTree) throws {
        let now = ContinuousClock.now
        for (place, packets) in try running?.dataPlane.strayPackets() ?? [:] where packets.age < .seconds(2) {
            guard let link = tree.link(index: place.interface) else { continue }
            if let said = upkeep.straysTold[place], said.duration(to: now) < Restorations.quiet { continue }
            upkeep.straysTold[place] = now
            logger.warning(
                "packets for \(place.vip) come in by \(link.name), where the packet program is not: this machine's own stack has them, and no real server gets them"
            )
        }
    }

    /// The interfaces by which answers to checks may come: on a shared link each of them answers ARP for the address that
    /// checks leave from.
    var interfacesOfAnswers: Set<Int32> {
        guard let ingress = running?.ingress, let tree = try? LinkTree() else { return [] }
        return Set((ingress.map(\.link) + Elsewhere.others(ingress, in: tree).filter(\.isUp)).map(\.index))
    }

    /// VIPs whose subnet is on interfaces alone that the packet program is not on.
    func warnOfSubnetsElsewhere() throws {
        guard let ingress = running?.ingress else { return }
        let tree = try LinkTree()
        let links = Elsewhere.links(ingress, in: tree)
        let addresses = try RouteSocket().addresses().filter { $0.prefixLength < 32 }
        for vip in configuration.vips.sorted() {
            let around = Set(addresses.filter { $0.contains(vip) }.map(\.interface))
            let names = links.filter { around.contains($0.index) }.map(\.name)
            guard !names.isEmpty, names.count == around.count else { continue }
            logger.warning(
                "\(vip) is in the subnet of \(names.joined(separator: ", ")), where the packet program is not: clients there get no answer to ARP"
            )
        }
    }
}
