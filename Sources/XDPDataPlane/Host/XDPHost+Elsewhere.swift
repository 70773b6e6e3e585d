internal import DataPlane
internal import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink

/// The interfaces that the packet program is not on.
extension XDPHost {
    /// Logged once in this time for each interface and VIP.
    private static let straysQuiet = Duration.seconds(600)

    /// Covers the other interfaces with the stray program. What fails is reported: clients' packets come in by the others.
    @discardableResult
    func watchElsewhere(_ tree: LinkTree, _ addresses: [InterfaceAddress]) -> Repairs {
        let links = Elsewhere.links(ingress, in: tree)
        var repairs = Repairs()
        do {
            for (interface, outcome) in try elsewhere.cover(links) {
                let resource = XDPResource.strayProgram(interface: interface)
                switch outcome {
                case .restored: repairs.restored.append(resource.managed)
                case .failed(let error): repairs.failed.append((resource.managed, error))
                }
            }
            if let failure = try setStrayPlaces(links, addresses) {
                repairs.failed.append((XDPResource.strayPlaces.managed, failure))
            }
            try logStrays(tree)
        } catch { repairs.failed.append((XDPResource.strayPlaces.managed, error)) }
        return repairs
    }

    /// Sets where packets for the VIPs are looked out for, as the machine's addresses are now. Returns what is wrong where
    /// some places are not looked at.
    @discardableResult
    func setStrayPlaces(_ links: [Link], _ addresses: [InterfaceAddress]) throws -> DataPlaneError? {
        let places = Elsewhere.places(
            links, vips: demand.vips, isOurs: demand.managesAddress, addresses: addresses
        ) { (try? Sysctl.read("net/ipv4/conf/\($0.name)/forwarding")) == "1" }
        let left = try tables.setStrayPlaces(places)
        guard left > 0 else { return nil }
        return DataPlaneError(
            .kernel,
            "it has room for \(XDPDataPlane.maximumStrayPlaces) pairs of interface and VIP: \(left) are left out, where ARP is answered and packets are not counted"
        )
    }

    private func logStrays(_ tree: LinkTree) throws {
        let now = ContinuousClock.now
        for (place, packets) in try tables.strayPackets() where packets.age < .seconds(2) {
            guard let link = tree.link(index: place.interface) else { continue }
            if let last = straysLogged[place], last.duration(to: now) < Self.straysQuiet { continue }
            straysLogged[place] = now
            logger.warning(
                "packets for \(place.vip) come in by \(link.name), where the packet program is not: this machine's own stack has them, and no real server gets them"
            )
        }
    }

    /// The interfaces by which answers to checks may come: on a shared link each of them answers ARP for the address that
    /// checks leave from.
    var interfacesOfAnswers: Set<Int32> {
        guard let tree = try? LinkTree() else { return [] }
        return Set((ingress.map(\.link) + Elsewhere.others(ingress, in: tree).filter(\.isUp)).map(\.index))
    }

    /// Logs VIPs whose subnet is on interfaces alone that the packet program is not on.
    func warnOfSubnetsElsewhere() throws {
        let tree = try LinkTree()
        let links = Elsewhere.links(ingress, in: tree)
        let addresses = try RouteSocket().addresses().filter { $0.prefixLength < 32 }
        for vip in demand.vips.sorted() {
            let around = Set(addresses.filter { $0.contains(vip) }.map(\.interface))
            let names = links.filter { around.contains($0.index) }.map(\.name)
            guard !names.isEmpty, names.count == around.count else { continue }
            logger.warning(
                "\(vip) is in the subnet of \(names.joined(separator: ", ")), where the packet program is not: clients there get no answer to ARP"
            )
        }
    }
}
