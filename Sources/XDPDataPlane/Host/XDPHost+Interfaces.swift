public import Addresses
internal import BPF
public import DataPlane
internal import Glibc
internal import HostState
internal import Logging
public import Netlink

/// The interfaces by which clients' packets come in.
extension XDPHost {
    /// A device to which the packet program is attached.
    struct Attachment {
        var device: Link
        /// The possible modes, the preferred one first.
        var modes: [XDPMode]
        var pin: String
    }

    /// Returns the interfaces for clients' packets. Where the setup names none, an interface with another XDP program
    /// is left out, unless nothing is left.
    static func ingress(
        _ setup: Setup, vips: [IPAddress], directory: String,
        leftOut: (_ message: String, _ interface: Link) -> Void = { _, _ in }
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
                "\(ingress.link.name) is left out, as another XDP program (id \(id)\(owner(of: id, on: device))) is on \(place)",
                ingress.link)
        }
        return free
    }

    /// Returns the id of the device's XDP program if it is not this director's; nil otherwise.
    private static func otherProgram(on device: Link, directory: String) throws -> UInt32? {
        guard let present = try XDPAttachment.of(interface: device.index) else { return nil }
        let pin = XDPDataPlane.linkPin(directory: directory, interface: device.index)
        return try BPFLink(pinnedAt: pin)?.interface() == UInt32(device.index) ? nil : present.programID
    }

    /// Returns ", of ipvsd …" where another instance's pins show that the program is its own; otherwise "".
    private static func owner(of program: UInt32, on device: Link) -> String {
        let found = InstancePaths.bpfDirectories.first { _, directory in
            let pin = XDPDataPlane.linkPin(directory: directory, interface: device.index)
            return (try? BPFLink(pinnedAt: pin)?.programID()) == program
        }
        guard let found else { return "" }
        // An instance without a name has its network namespace's name, or none.
        guard let name = found.instance, !name.hasPrefix("netns-") else { return ", of ipvsd without --instance" }
        return ", of ipvsd --instance \(name)"
    }

    /// Returns the attachments. Throws where another program is attached.
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
            // The generic hook of a veth would see merged frames of 64 KB, as would a bond's over a veth.
            case nil where device.kind == "veth" || (device.kind == "bond" && ingress.hasVeth): [.native]
            case nil: present?.mode == .generic ? [.generic] : [.native, .generic]
            }
        return Attachment(device: device, modes: modes, pin: pin)
    }

    func attach(_ tables: XDPDataPlane, to attachments: [Attachment]) throws {
        let modes: [XDPMode]
        do { modes = try attachments.map { try attach(tables, to: $0) } } catch {
            tables.reattachPublished()
            throw error
        }
        do { try tables.publish() } catch { throw DataPlaneError(.kernel, "publish the data plane: \(error)") }
        if let refusal = tables.explainingRefusal {
            logger.warning(
                "`ipvsd explain` cannot tell what becomes of packets, which go on as before: \(refusal)",
                metadata: ["error": "\(refusal)"])
        }
        exits.isNative = modes.contains(.native)
    }

    @discardableResult
    private func attach(_ tables: XDPDataPlane, to attachment: Attachment) throws -> XDPMode {
        let device = attachment.device
        for (index, mode) in attachment.modes.enumerated() {
            do {
                try tables.attach(interface: device.index, mode: mode)
                if mode == .generic { try turnOffGRO(below: device) }
                return mode
            } catch let error as BPFError where error.code == EBUSY || error.code == EEXIST {
                throw DataPlaneError(.interface, "attach director to \(device.name): \(error)")
            } catch let error as BPFError where index + 1 < attachment.modes.count {
                logger.warning(
                    "\(device.name) has no native XDP (\(error)): falling back to generic, which is slower",
                    metadata: ["interface": "\(device.name)", "error": "\(error)"])
            } catch let error as BPFError {
                throw DataPlaneError(
                    .kernel,
                    "attach director to \(device.name) in \(mode.rawValue) mode: \(error)\(Self.advice(error, device, mode))"
                )
            }
        }
        preconditionFailure("an attachment has a mode")
    }

    /// Turns GRO off for the members of a bond, since its generic hook comes after their GRO. GRO skips a device that
    /// has the hook itself (netif_elide_gro).
    private func turnOffGRO(below device: Link) throws {
        for member in try LinkTree().members(of: device) where member.index != device.index {
            Self.turnOff("rx-gro", of: member, journal: journal, logger: logger)
            memberOffloads.insert(.offload(interface: .init(member), feature: "rx-gro"))
        }
    }

    // MARK: Offloads

    /// Turns off the offloads that change frames, as answers are built from received frames. These are merging (LRO),
    /// and the removal of tags where tags distinguish VLANs. Returns the offloads.
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
            logger.warning(
                "\(error): packets may be dropped, and counted as merged frames",
                metadata: ["interface": "\(link.name)", "error": "\(error)"])
        }
    }

    // MARK: State

    public var interfaces: [Link] { ingress.map(\.link) }

    public func describedInterfaces() throws -> [String] {
        try ingress.devices.map { device in
            "\(device.name) (XDP \(try XDPAttachment.of(interface: device.index)?.mode.rawValue ?? "off"))"
        }
    }

    public func interfaceReport() throws -> InterfaceReport { try Self.report(ingress.devices.map(\.index)) }

    static func report(_ interfaces: [Int32]) throws -> InterfaceReport {
        let socket = try RouteSocket()
        // An interface may vanish meanwhile, and is then left out.
        let links = interfaces.compactMap { try? socket.link(index: $0) }
        return InterfaceReport(
            mode: interfaces.lazy.compactMap { (try? XDPAttachment.of(interface: $0))?.mode.rawValue }.first,
            names: links.map(\.name),
            transmitErrors: Dictionary(
                links.map { ($0.name, $0.transmitErrors + $0.transmitDropped) }, uniquingKeysWith: { one, _ in one }))
    }

    public func otherInterfaces(for vip: IPAddress) throws -> [String]? {
        let found = try Ingress.find([], vips: [vip]).map(\.link)
        // One of several interfaces may be down just now, or have come since the start.
        return Set(found.map(\.index)).isDisjoint(with: ingress.map(\.link.index)) ? found.map(\.name) : nil
    }

    /// Tells the packet program the ingress MTU, the MACs of the interfaces, and the places of stray packets.
    func describeIngress(_ tree: LinkTree) throws {
        let links = ingress.map(\.link)
        tables.setIngressMTU((links + ingress.devices).map(\.mtu).max() ?? 1500)
        let isBridged = ingress.contains(where: \.isBridged)
        // No host sends to the addresses of a bridge's ports.
        let addresses = demand.managesAddress ? [] : try RouteSocket().addresses()
        let vips = demand.vips
        let holders = addresses.filter { vips.contains($0.address) }.map(\.interface)
        let macs = OwnMACs(
            of: isBridged ? links : links + ingress.devices, in: tree,
            holders: demand.managesAddress ? nil : Set(holders))
        let isTooMany = macs.own.count > XDPDataPlane.maximumOwnMACs && !isBridged
        // Frames of other hosts come by a bridge, and must not be dropped.
        tables.setOwnMACs(isTooMany ? [] : macs.own, idle: isBridged ? [] : macs.idle)
        // Another program may move a VIP at any time.
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

    /// Attaches the director again where an interface was made anew under its old name, or a bridge has another port. A
    /// reload of the driver or a container's restart makes interfaces anew.
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
        // A new VLAN device or bridge has lost its addresses, while the program on the devices below stays.
        let isRemade = zip(ingress, former).contains { $0.link.index != $1.link.index }
        guard !missing.isEmpty || !gone.isEmpty || isRemade,
            let directory = setup.instance.existingBPFDirectory()
        else { return false }
        self.ingress = ingress
        exits.transmitting = ingress.transmitting
        for device in gone {
            logger.notice(
                "\(device.name) is no longer part of an interface for clients: detaching the director",
                metadata: ["interface": "\(device.name)"])
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
                logger.warning(
                    "the director was not attached to \(device.name): it is again",
                    metadata: ["interface": "\(device.name)"])
                isAttached = true
            }
        }
        guard isAttached || isRemade else { return false }
        listening = []
        return true
    }

    // MARK: Unneeded changes

    /// Undoes the changes of an earlier director that are not wanted now: on other interfaces, and for checks that are
    /// off.
    func dropUnwanted() {
        let pins = Set(attachments.compactMap { $0.pin.split(separator: "/").last })
        let wanted = offloads.union(memberOffloads)
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

/// The MTU limits of native XDP.
extension XDPHost {
    /// The largest MTU for native XDP, where a frame has to fit into one page. A veth's page also has 256 bytes and the
    /// Ethernet header before the frame, and a skb_shared_info of 320 bytes behind it (veth_xdp_set). Other drivers
    /// differ a little.
    private static let largestMTU = UInt32(sysconf(Int32(_SC_PAGESIZE))) - 256 - 14 - 320

    /// Throws for a veth that the kernel would refuse. Other drivers show their limit only in an attachment.
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
