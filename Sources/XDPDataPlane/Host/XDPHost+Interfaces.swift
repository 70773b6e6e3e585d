public import Addresses
internal import BPF
public import DataPlane
internal import Glibc
internal import HostState
internal import Logging
public import Netlink

/// The interfaces by which clients' packets come in.
extension XDPHost {
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
        _ setup: Setup, vips: [IPAddress], directory: String, leftOut: (String) -> Void = { _ in }
    ) throws -> [Ingress] {
        let found = try Ingress.find(setup.interfaces, vips: vips)
        guard setup.interfaces.isEmpty else { return found }
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
            leftOut(
                "\(ingress.link.name) is left out, as another XDP program (id \(id)\(owner(of: id, on: device))) is on \(place)"
            )
        }
        return free
    }

    /// The id of an XDP program that is not this director's.
    private static func otherProgram(on device: Link, directory: String) throws -> UInt32? {
        guard let present = try XDPAttachment.of(interface: device.index) else { return nil }
        let pin = XDPDataPlane.linkPin(directory: directory, interface: device.index)
        return try BPFLink(pinnedAt: pin)?.interface() == UInt32(device.index) ? nil : present.programID
    }

    /// ", of ipvsd …" where another instance's pins show that the program is its own.
    private static func owner(of program: UInt32, on device: Link) -> String {
        let found = InstancePaths.bpfDirectories.first { _, directory in
            let pin = XDPDataPlane.linkPin(directory: directory, interface: device.index)
            return (try? BPFLink(pinnedAt: pin)?.programID()) == program
        }
        guard let found else { return "" }
        // One that has no name has its network namespace's, or none.
        guard let name = found.instance, !name.hasPrefix("netns-") else { return ", of ipvsd without --instance" }
        return ", of ipvsd --instance \(name)"
    }

    /// Refuses where another program sits.
    static func attachments(_ setup: Setup, ingress: [Ingress], directory: String) throws -> [Attachment] {
        try ingress.devices.map { try attachment(setup, device: $0, of: ingress, directory: directory) }
    }

    private static func attachment(
        _ setup: Setup, device: Link, of ingress: [Ingress], directory: String
    ) throws -> Attachment {
        let pin = XDPDataPlane.linkPin(directory: directory, interface: device.index)
        if let other = try otherProgram(on: device, directory: directory) {
            let program = "id \(other)\(owner(of: other, on: device))"
            throw DataPlaneError(
                .interface,
                "attach director to \(device.name): Device or resource busy (another XDP program: \(program))")
        }
        let present = try XDPAttachment.of(interface: device.index)
        let modes: [XDPMode] =
            switch setup.mode {
            case let mode?: [mode]
            // A veth's generic hook would see merged frames of 64 KB; so would a bond's.
            case nil where device.kind == "veth" || (device.kind == "bond" && ingress.hasVeth): [.native]
            case nil: present?.mode == .generic ? [.generic] : [.native, .generic]
            }
        return Attachment(device: device, modes: modes, pin: pin)
    }

    func attach(_ tables: XDPDataPlane, to attachments: [Attachment]) throws {
        let modes: [XDPMode]
        do { modes = try attachments.map { try attach(tables, to: $0) } } catch {
            tables.giveBack()
            throw error
        }
        do { try tables.publish() } catch { throw DataPlaneError(.kernel, "publish the data plane: \(error)") }
        if let refusal = tables.explainingRefusal {
            logger.warning("`ipvsd explain` cannot tell what becomes of packets, which go on as before: \(refusal)")
        }
        exits.isNative = modes.contains(.native)
    }

    @discardableResult
    private func attach(_ tables: XDPDataPlane, to attachment: Attachment) throws -> XDPMode {
        let device = attachment.device
        for (index, mode) in attachment.modes.enumerated() {
            do {
                try tables.attach(interface: device.index, mode: mode)
                if mode == .generic { try keepFramesApart(below: device) }
                return mode
            } catch let error as BPFError where error.code == EBUSY || error.code == EEXIST {
                throw DataPlaneError(.interface, "attach director to \(device.name): \(error)")
            } catch let error as BPFError where index + 1 < attachment.modes.count {
                logger.warning(
                    "\(device.name) has no native XDP (\(error)): falling back to generic, which is slower")
            } catch let error as BPFError {
                throw DataPlaneError(
                    .kernel,
                    "attach director to \(device.name) in \(mode.rawValue) mode: \(error)\(Self.advice(error, device, mode))"
                )
            }
        }
        preconditionFailure("an attachment has a mode")
    }

    /// A bond's generic hook comes after its members have merged frames (GRO). A device that has the hook itself
    /// merges none (netif_elide_gro).
    private func keepFramesApart(below device: Link) throws {
        for member in try LinkTree().members(of: device) where member.index != device.index {
            Self.turnOff("rx-gro", of: member, journal: journal, logger: logger)
            keptApart.insert(.offload(interface: .init(member), feature: "rx-gro"))
        }
    }

    // MARK: Offloads

    /// Frames must come as they were sent: not merged (LRO), and with their tags where these tell VLANs apart, since
    /// answers are built from what came. Returns what is off for that.
    static func turnOffloadsOff(
        of ingress: [Ingress], journal: ChangeJournal, logger: Logger
    ) throws -> Set<Change> {
        var features = ["rx-lro", "rx-gro-hw"]
        if try LinkTree().hasTags(on: ingress.devices) { features += ["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"] }
        var off: Set<Change> = []
        for member in ingress.members {
            for feature in features {
                turnOff(feature, of: member, journal: journal, logger: logger)
                off.insert(.offload(interface: .init(member), feature: feature))
            }
        }
        return off
    }

    private static func turnOff(_ feature: String, of link: Link, journal: ChangeJournal, logger: Logger) {
        do {
            guard try Offload.isOn(feature, of: link.name) == true else { return }
            try journal.make(.offload(interface: .init(link), feature: feature)) {
                try Offload.set(feature, of: link.name, on: false)
            }
        } catch {
            logger.warning("\(error): packets may be dropped, and counted as merged frames")
        }
    }

    // MARK: Their state

    public var interfaces: [Link] { ingress.map(\.link) }

    public func describedInterfaces() throws -> [String] {
        try ingress.devices.map { device in
            "\(device.name) (XDP \(try XDPAttachment.of(interface: device.index)?.mode.rawValue ?? "off"))"
        }
    }

    public func interfaceReport() throws -> InterfaceReport { try Self.report(ingress.devices.map(\.index)) }

    static func report(_ interfaces: [Int32]) throws -> InterfaceReport {
        let socket = try RouteSocket()
        // One that goes just now is not listed, and the others are.
        let links = interfaces.compactMap { try? socket.link(index: $0) }
        return InterfaceReport(
            mode: interfaces.lazy.compactMap { (try? XDPAttachment.of(interface: $0))?.mode.rawValue }.first,
            names: links.map(\.name),
            transmitErrors: Dictionary(
                links.map { ($0.name, $0.transmitErrors + $0.transmitDropped) }, uniquingKeysWith: { one, _ in one }))
    }

    public func otherInterfaces(for vip: IPAddress) throws -> [String]? {
        let found = try Ingress.find([], vips: [vip]).map(\.link)
        // One of several may be down just now, or have come since the start.
        return Set(found.map(\.index)).isDisjoint(with: ingress.map(\.link.index)) ? found.map(\.name) : nil
    }

    /// Tells the packet program what depends on the interfaces.
    func describeIngress(_ tree: LinkTree) throws {
        let links = ingress.map(\.link)
        tables.setIngressMTU((links + ingress.devices).map(\.mtu).max() ?? 1500)
        let isBridged = ingress.contains(where: \.isBridged)
        // A bridge's ports have addresses that nobody sends to.
        let addresses = demand.managesAddress ? [] : try RouteSocket().addresses()
        let vips = demand.vips
        let holders = addresses.filter { vips.contains($0.address) }.map(\.interface)
        let macs = OwnMACs(
            of: isBridged ? links : links + ingress.devices, in: tree,
            holders: demand.managesAddress ? nil : Set(holders))
        let isTooMany = macs.own.count > XDPDataPlane.maximumOwnMACs && !isBridged
        // By a bridge another host's frames come, too: they are not dropped.
        tables.setOwnMACs(isTooMany ? [] : macs.own, idle: isBridged ? [] : macs.idle)
        // Who else moves a VIP here does so at any moment.
        if !demand.managesAddress, isComplete { try setStrayPlaces(Elsewhere.links(ingress, in: tree), addresses) }
    }

    public func followInterfaces() throws -> [Link] {
        let tree = try LinkTree()
        var regained: [Link] = []
        for (index, known) in ingress.enumerated() {
            guard let link = tree.link(index: known.link.index) else { continue }
            ingress[index] = known.following(tree)
            if link.isUp, link.hasCarrier, !known.link.hasCarrier { regained.append(link) }
        }
        try describeIngress(tree)
        return regained
    }

    /// An interface may have been made anew under its old name (a driver was reloaded, a container's veth replaced),
    /// and a bridge may have got another port.
    public func rejoinInterfaces() throws -> Bool {
        let tree = try LinkTree()
        let former = self.ingress
        let ingress = former.map { known in
            Change.Interface(known.link).find(among: tree.all).flatMap { try? Ingress($0, in: tree) } ?? known
        }
        let present = ingress.devices.filter { tree.link(index: $0.index) != nil }
        let missing = present.filter { (try? tables.isAttached(interface: $0.index)) != true }
        let gone = former.devices.filter { device in
            tree.link(index: device.index) != nil && !ingress.devices.contains { $0.index == device.index }
        }
        // A VLAN device or a bridge, whose program sits elsewhere, but which has lost its addresses.
        let isRemade = zip(ingress, former).contains { $0.link.index != $1.link.index }
        guard !missing.isEmpty || !gone.isEmpty || isRemade,
            let directory = setup.instance.existingBPFDirectory()
        else { return false }
        self.ingress = ingress
        exits.transmitting = ingress.transmitting
        for device in gone {
            logger.notice("\(device.name) is no longer part of an interface for clients: detaching the director")
            work.attempt("detach the director from \(device.name)") {
                tables.forgetAttachment(interface: device.index)
                try journal.undo(
                    .attachment(path: XDPDataPlane.linkPin(directory: directory, interface: device.index)))
            }
        }
        guard !missing.isEmpty || isRemade else { return false }
        _ = try Self.turnOffloadsOff(of: ingress, journal: journal, logger: logger)
        var isAttached = false
        for device in missing {
            work.attempt("attach the director to \(device.name) again") {
                let attachment = try Self.attachment(setup, device: device, of: ingress, directory: directory)
                try journal.make(.attachment(path: attachment.pin)) {}
                try attach(tables, to: attachment)
                logger.warning("the director was not attached to \(device.name): it is again")
                isAttached = true
            }
        }
        guard isAttached || isRemade else { return false }
        listening = []
        return true
    }

    // MARK: What a start no longer wants

    /// Takes away what an earlier director had on other interfaces, and for checks that are now off.
    func dropUnwanted() {
        let pins = Set(attachments.compactMap { $0.pin.split(separator: "/").last })
        let wanted = offloads.union(keptApart)
        for change in journal.changes.reversed() {
            let isWanted =
                switch change {
                case .attachment(let path): path.split(separator: "/").last.map(pins.contains) ?? true
                case .offload: wanted.contains { $0.isAboutSame(as: change) }
                default: true
                }
            if !isWanted { work.attempt("undo \(change)") { try journal.undo(change) } }
        }
        if !checkDevice.takesChecks {
            work.attempt("remove the programs of checks") {
                try journal.undoPrograms(priority: CheckPrograms.priority)
            }
        }
    }
}

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
