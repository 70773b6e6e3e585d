internal import Addresses
internal import BPF
public import DataPlane
internal import HostState
internal import LoadBalancing
internal import Netlink

/// Puts back what somebody takes away.
extension XDPHost {
    public func repair() -> [Repairs] {
        var all = [repairStored()]
        do {
            let view = try checkPathView()
            all.append(repairCheckPath(view))
            all.append(watchElsewhere(view.tree, view.addresses))
        } catch { all.append(Self.failure(.checkDevice, error)) }
        return all
    }

    private static func failure(_ resource: XDPResource, _ error: any Error) -> Repairs {
        var repairs = Repairs()
        repairs.failed = [(resource.managed, error)]
        return repairs
    }

    /// What was pinned goes on without its pin, but only as long as this process does.
    public func repairStored() -> Repairs {
        var repairs = Repairs()
        let missing = tables.missingPins
        guard !missing.isEmpty else { return repairs }
        let resource = XDPResource.pins(missing).managed
        do {
            // The directory may have gone with them, and bpffs itself.
            _ = try setup.instance.bpfDirectory(journal: journal)
            try missing.forEachDespiteErrors { name in
                let path = "\(tables.directory)/\(name)"
                let change: Change = name.hasPrefix("link-") ? .attachment(path: path) : .pin(path: path)
                try journal.make(change) { try tables.restorePin(name) }
            }
            repairs.restored = [resource]
        } catch { repairs.failed = [(resource, error)] }
        return repairs
    }

    // MARK: The check path

    public func isCheckPathWhole() async -> Bool {
        let places = checkDevice.programPlaces(listening: listening)
        guard let view = try? await CheckPathView.read(programsAt: places) else { return false }
        let (missing, unseen) = checkDevice.missing(in: view)
        return missing.isEmpty && unseen.isEmpty
    }

    public func repairCheckPath() -> Repairs {
        do { return repairCheckPath(try checkPathView()) } catch { return Self.failure(.checkDevice, error) }
    }

    private func checkPathView() throws(NetlinkError) -> CheckPathView {
        try CheckPathView(programsAt: checkDevice.programPlaces(listening: listening))
    }

    private func repairCheckPath(_ view: CheckPathView) -> Repairs {
        var repairs = Repairs()
        let (missing, unseen) = checkDevice.missing(in: view)
        repairs.failed = unseen.map { ($0.resource.managed, $0.error) }
        if missing.isEmpty { return repairs }
        let tree = view.tree
        do {
            if try !checkDevice.restore(missing, in: tree) { try remakeCheckDevice() }
            repairs.restored = missing.map(\.managed)
        } catch {
            // Others may be there again all the same.
            let left = Set((try? leftMissing()) ?? missing)
            repairs.failed += left.map { ($0.managed, error) }
            repairs.restored = missing.filter { !left.contains($0) }.map(\.managed)
        }
        let answering = interfacesOfExpectedAnswers(tree)
        repairs.disturbedChecks = missing.contains { CheckDevice.takesPartInChecks($0, answering: answering) }
        return repairs
    }

    /// Those of the routes to real servers, and those of the VIPs.
    private func interfacesOfExpectedAnswers(_ tree: LinkTree) -> Set<String> {
        let servers = tables.serverAddresses.union(demandedServers)
        let routed = servers.compactMap { tables.path(to: $0)?.routeInterface }
        return Set((routed + ingress.map(\.link.index)).compactMap { tree.link(index: $0)?.name })
    }

    private func leftMissing() throws -> [XDPResource] { checkDevice.missing(in: try checkPathView()).resources }

    private func remakeCheckDevice() throws {
        guard let directory = setup.instance.existingBPFDirectory() else {
            throw DataPlaneError(.kernel, "find the data plane's maps on bpffs: they are gone")
        }
        let listened = listening
        try useCheckDevice(below: directory, checks: checkDevice.takesChecks)
        try listened.forEachDespiteErrors { try listen(on: $0) }
    }
}

/// Something that the XDP data plane has put into its machine and goes on needing there, by the name that log and events
/// use.
enum XDPResource: Hashable, CustomStringConvertible {
    case address(IPAddress, interface: String)
    /// ipvsd0 and ipvsd1, which come and go together.
    case checkDevice
    /// What the next daemon takes over, by the names below the instance's directory on bpffs.
    case pins([String])
    /// "UP", "MTU", ...
    case state(String, of: String)
    /// Below /proc/sys.
    case sysctl(String)
    /// The tc program that carries checks, with the clsact qdisc that it needs.
    case program(BPFProgram.TrafficControlHook.Direction, interface: String)
    /// The tc program on an interface that the packet program is not on.
    case strayProgram(interface: String)
    /// What that program is told.
    case strayPlaces

    var description: String {
        switch self {
        case .address(let address, let interface): "address \(address)/32 on \(interface)"
        case .checkDevice: "device \(CheckDevice.name) (with its peer \(CheckDevice.peerName))"
        case .pins(let names) where names.count > 3:
            "\(names.count) pins (\(names.prefix(3).joined(separator: ", ")), …)"
        case .pins(let names): "\(names.count == 1 ? "pin" : "pins") \(names.joined(separator: ", "))"
        case .state(let state, let device): "\(state) of \(device)"
        case .sysctl(let key): "sysctl \(key.map { $0 == "/" ? "." : "\($0)" }.joined())"
        case .strayProgram(let interface): "program for stray packets on \(interface)"
        case .strayPlaces: "list of interfaces and VIPs of stray packets"
        case .program(let direction, let interface): "\(direction) program of checks on \(interface)"
        }
    }

    var managed: ManagedResource { ManagedResource(description) }
}
