internal import BPF
internal import CLinux
internal import DataPlane
internal import Glibc
internal import HostState
internal import LoadBalancing
internal import Logging
internal import Netlink
internal import ServiceConfiguration

/// What the director does to the interfaces on which clients' packets come in.
extension Director {
    /// A device that the packet program sits on.
    struct Attachment {
        var device: Link
        /// The preferred first.
        var modes: [XDPMode]
        var pin: String
    }

    /// Where clients' packets are to come in. An interface that nobody named is left out where another program sits,
    /// unless nothing is left.
    static func ingress(
        _ configuration: DirectorConfiguration, directory: String, leftOut: (String) -> Void = { _ in }
    ) throws -> [Ingress] {
        let found = try Ingress.find(configuration)
        guard configuration.interfaces.isEmpty else { return found }
        let programs = try found.map { ingress in
            try ingress.devices.compactMap { device in
                try otherProgram(on: device, directory: directory).map { (device, $0) }
            }.first
        }
        let free = zip(found, programs).filter { $1 == nil }.map(\.0)
        guard !free.isEmpty else { return found }
        for (ingress, program) in zip(found, programs) {
            guard let (device, id) = program else { continue }
            let place = device.index == ingress.link.index ? "it" : device.name
            leftOut("\(ingress.link.name) is left out, as another XDP program (id \(id)) is on \(place)")
        }
        return free
    }

    /// The id of an XDP program that is not this director's.
    private static func otherProgram(on device: Link, directory: String) throws -> UInt32? {
        guard let present = try XDPAttachment.of(interface: device.index) else { return nil }
        let pin = XDPDataPlane.linkPin(directory: directory, interface: device.index)
        return try BPFLink(pinnedAt: pin)?.interface() == UInt32(device.index) ? nil : present.programID
    }

    /// Refuses where another program sits.
    static func attachments(
        _ configuration: DirectorConfiguration, ingress: [Ingress], directory: String
    ) throws -> [Attachment] {
        try ingress.devices.map { try attachment(configuration, device: $0, of: ingress, directory: directory) }
    }

    private static func attachment(
        _ configuration: DirectorConfiguration, device: Link, of ingress: [Ingress], directory: String
    ) throws -> Attachment {
        let pin = XDPDataPlane.linkPin(directory: directory, interface: device.index)
        if let other = try otherProgram(on: device, directory: directory) {
            throw DirectorError(
                .interface,
                "attach director to \(device.name): Device or resource busy (another XDP program: id \(other))")
        }
        let present = try XDPAttachment.of(interface: device.index)
        let modes: [XDPMode] =
            switch configuration.xdp {
            case .native: [.native]
            case .generic: [.generic]
            // A veth's generic hook would see merged frames of 64 KB; so would a bond's.
            case .auto where device.kind == "veth" || (device.kind == "bond" && ingress.hasVeth): [.native]
            case .auto: present?.mode == .generic ? [.generic] : [.native, .generic]
            }
        return Attachment(device: device, modes: modes, pin: pin)
    }

    func attach(_ dataPlane: XDPDataPlane, to attachments: [Attachment]) throws {
        let modes: [XDPMode]
        do { modes = try attachments.map { try attach(dataPlane, to: $0) } } catch {
            dataPlane.giveBack()
            throw error
        }
        do { try dataPlane.publish() } catch { throw DirectorError(.kernel, "publish the data plane: \(error)") }
        running?.paths.isNative = modes.contains(.native)
    }

    @discardableResult
    func attach(_ dataPlane: XDPDataPlane, to attachment: Attachment) throws -> XDPMode {
        let device = attachment.device
        for (index, mode) in attachment.modes.enumerated() {
            do {
                try dataPlane.attach(interface: device.index, mode: mode)
                if mode == .generic { try keepFramesApart(below: device) }
                return mode
            } catch let error as BPFError where error.code == EBUSY || error.code == EEXIST {
                throw DirectorError(.interface, "attach director to \(device.name): \(error)")
            } catch let error as BPFError where index + 1 < attachment.modes.count {
                logger.warning(
                    "\(device.name) has no native XDP (\(error)): falling back to generic, which is slower")
            } catch let error as BPFError {
                throw DirectorError(
                    .kernel,
                    "attach director to \(device.name) in \(mode.rawValue) mode: \(error)\(Self.advice(error, device, mode))"
                )
            }
        }
        preconditionFailure("an attachment has a mode")
    }

    /// Drivers have whole frames in one page for native XDP: for a veth those that its peer sends, with 256 bytes before
    /// and a skb_shared_info behind (veth_xdp_set); others take a little more or less.
    private static let largestMTU: UInt32 = 3506

    private static func command(_ device: Link) -> String { "'ip link set dev \(device.name) mtu \(largestMTU)'" }

    private static func advice(_ error: BPFError, _ device: Link, _ mode: XDPMode) -> String {
        guard mode == .native, [ERANGE, EINVAL, EOPNOTSUPP].contains(error.code) else { return "" }
        if device.kind == "veth" {
            guard error.code == ERANGE else { return "" }
            return "; the MTU of its peer (here it is \(device.mtu)) is too large for native XDP, where a frame has to "
                + "fit into a page: \(largestMTU) is the largest; at both ends: \(command(device))"
        }
        guard device.mtu > largestMTU else { return "" }
        return "; its MTU of \(device.mtu) is too large for native XDP, where a frame has to fit into a page: at most "
            + "about \(largestMTU), which a veth takes; \(command(device)), or --xdp generic, which is slower"
    }

    /// A bond's generic hook comes after its members have merged frames (GRO). A device that has the hook itself
    /// merges none (netif_elide_gro).
    private func keepFramesApart(below device: Link) throws {
        guard let journal = running?.journal else { return }
        for member in try LinkTree().members(of: device) where member.index != device.index {
            turnOff("rx-gro", of: member, journal: journal)
            running?.keptApart.insert(.offload(interface: member.name, feature: "rx-gro"))
        }
    }

    // MARK: Offloads

    /// Frames must come as they were sent: not merged (LRO), and with their tags where these tell VLANs apart, since
    /// answers are built from what came. What it turned off, or had turned off.
    func turnOffloadsOff(of ingress: [Ingress], journal: ChangeJournal) throws -> Set<Change> {
        var features = ["rx-lro", "rx-gro-hw"]
        if try LinkTree().hasTags(on: ingress.devices) { features += ["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"] }
        var off: Set<Change> = []
        for member in ingress.members {
            for feature in features {
                turnOff(feature, of: member, journal: journal)
                off.insert(.offload(interface: member.name, feature: feature))
            }
        }
        return off
    }

    private func turnOff(_ feature: String, of link: Link, journal: ChangeJournal) {
        do {
            guard try Offload.isOn(feature, of: link.name) == true else { return }
            try journal.make(.offload(interface: link.name, feature: feature)) {
                try Offload.set(feature, of: link.name, on: false)
            }
        } catch {
            logger.warning("\(error): packets may be dropped, and counted as merged frames")
        }
    }

    // MARK: What is known of them

    /// Tells the packet program what depends on the interfaces.
    func describeIngress(_ tree: LinkTree) throws {
        guard let running else { return }
        let links = running.ingress.map(\.link)
        running.dataPlane.setIngressMTU((links + running.ingress.devices).map(\.mtu).max() ?? 1500)
        let isBridged = running.ingress.contains(where: \.isBridged)
        // A bridge's ports have addresses that nobody sends to.
        let addresses = configuration.managesAddress ? [] : try RouteSocket().addresses()
        let vips = configuration.vips
        let holders = addresses.filter { vips.contains($0.address) }.map(\.interface)
        let macs = OwnMACs(
            of: isBridged ? links : links + running.ingress.devices, in: tree,
            holders: configuration.managesAddress ? nil : Set(holders))
        let isTooMany = macs.own.count > XDPDataPlane.maximumOwnMACs && !isBridged
        // By a bridge another host's frames come, too: they are not dropped.
        running.dataPlane.setOwnMACs(isTooMany ? [] : macs.own, idle: isBridged ? [] : macs.idle)
        // Who else moves a VIP here does so at any moment.
        if !configuration.managesAddress, running.isForwarding {
            try setStrayPlaces(Elsewhere.links(running.ingress, in: tree), addresses)
        }
    }

    /// Follows their state: where a cable is back, switches have to learn anew where the VIPs are.
    func refreshIngress() throws {
        guard let current = running else { return }
        let tree = try LinkTree()
        for (index, ingress) in current.ingress.enumerated() {
            guard let link = tree.link(index: ingress.link.index) else { continue }
            running?.ingress[index].link = link
            if link.isUp, link.hasCarrier, !ingress.link.hasCarrier { announce(on: link) }
        }
        try describeIngress(tree)
    }

    /// An interface may have been made anew under its old name (a driver was reloaded, a container's veth replaced),
    /// and a bridge may have got another port.
    func stayAttached() throws {
        guard let current = running else { return }
        let tree = try LinkTree()
        let ingress = current.ingress.map { known in
            tree.link(named: known.link.name).flatMap { try? Ingress($0, in: tree) } ?? known
        }
        let present = ingress.devices.filter { tree.link(index: $0.index) != nil }
        let missing = present.filter { (try? current.dataPlane.isAttached(interface: $0.index)) != true }
        let gone = current.ingress.devices.filter { device in
            tree.link(index: device.index) != nil && !ingress.devices.contains { $0.index == device.index }
        }
        // A VLAN device or a bridge, whose program sits elsewhere, but which has lost its addresses.
        let isRemade = zip(ingress, current.ingress).contains { $0.link.index != $1.link.index }
        guard !missing.isEmpty || !gone.isEmpty || isRemade, let directory = instance.existingBPFDirectory() else {
            return
        }
        running?.ingress = ingress
        running?.paths.transmitting = ingress.transmitting
        for device in gone {
            logger.notice("\(device.name) is no longer part of an interface for clients: detaching the director")
            attempt("detach the director from \(device.name)") {
                current.dataPlane.forgetAttachment(interface: device.index)
                try current.journal.undo(
                    .attachment(path: XDPDataPlane.linkPin(directory: directory, interface: device.index)))
            }
        }
        guard !missing.isEmpty || isRemade else { return }
        _ = try turnOffloadsOff(of: ingress, journal: current.journal)
        var isAttached = false
        for device in missing {
            attempt("attach the director to \(device.name) again") {
                let attachment = try Self.attachment(
                    configuration, device: device, of: ingress, directory: directory)
                try current.journal.make(.attachment(path: attachment.pin)) {}
                try attach(current.dataPlane, to: attachment)
                logger.warning("the director was not attached to \(device.name): it is again")
                isAttached = true
            }
        }
        guard isAttached || isRemade else { return }
        running?.listening = []
        // With a description of the interfaces.
        refreshPaths()
        try placeAddresses(journal: current.journal)
        announce()
    }

    // MARK: Addresses

    /// Puts the VIPs on the interfaces, and takes off those that an earlier configuration had put there.
    func placeAddresses(journal: ChangeJournal) throws {
        guard let ingress = running?.ingress else { return }
        let socket = try RouteSocket()
        let addresses = try socket.addresses()
        var homes: [IPv4Address: Link] = [:]
        for vip in configuration.vips { homes[vip] = ingress.home(of: vip, addresses) }
        var failures: [any Error] = []
        for change in journal.changes {
            if case .address(let interface, let address, _, _) = change,
                !configuration.managesAddress || homes[address]?.name != interface
            {
                do { try journal.undo(change) } catch { failures.append(error) }
            }
        }
        if configuration.managesAddress {
            let (present, hasOtherSources) = try VIPScope.settle(
                homes, journal: journal, by: socket, refuge: running?.checkDevice.peer)
            if hasOtherSources { refreshPaths() }
            let missing = homes.filter { !present.contains($0.key) }.sorted { $0.key < $1.key }
            try journal.make(
                missing.map { (.address(interface: $1.name, address: $0, prefixLength: 32), ($0, $1)) }
            ) { vip, link in
                // One that fails stays in the journal: it is tried again as one that was taken away.
                do { try VIPScope.place(vip, on: link, by: socket) } catch { failures.append(error) }
            }
        }
        if let failure = failures.first { throw failure }
    }

    func announce() {
        for ingress in running?.ingress ?? [] { announce(on: ingress.link) }
    }

    /// Gratuitous ARP: neighbours that knew another holder of a VIP learn of this one.
    private func announce(on link: Link) {
        guard configuration.managesAddress, let mac = link.address else { return }
        let vips = configuration.vips.sorted()
        let sent = Int(clinux_announce(link.index, mac.bytes, vips.map(\.bigEndian), Int32(vips.count)))
        if sent < vips.count {
            let rest = vips.count - sent > 1 ? " and \(vips.count - sent - 1) more" : ""
            logger.warning("announce \(vips[sent])\(rest) on \(link.name): \(String(cString: strerror(errno)))")
        }
    }

    // MARK: What a start no longer wants

    /// What the daemon before this one had put elsewhere, or for checks that are now off.
    func dropWhatIsNoLongerWanted(
        _ journal: ChangeJournal, attachments: [Attachment], offloads: Set<Change>
    ) {
        let pins = Set(attachments.compactMap { $0.pin.split(separator: "/").last })
        let wanted = offloads.union(running?.keptApart ?? [])
        for change in journal.changes.reversed() {
            let isWanted =
                switch change {
                case .attachment(let path): path.split(separator: "/").last.map(pins.contains) ?? true
                case .offload: wanted.contains(change)
                default: true
                }
            if !isWanted { attempt("undo \(change)") { try journal.undo(change) } }
        }
        if running?.checkDevice.takesChecks == false {
            attempt("remove the programs of checks") { try journal.undoPrograms(priority: CheckPrograms.priority) }
        }
    }
}
