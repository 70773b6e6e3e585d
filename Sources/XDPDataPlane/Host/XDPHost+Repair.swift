internal import Addresses
internal import BPF
public import DataPlane
internal import HostState
internal import LoadBalancing
internal import Netlink

/// The repair of the director's changes of the machine.
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

    /// Restores missing pins. Without its pin, an object lives only as long as this process.
    public func repairStored() -> Repairs {
        var repairs = Repairs()
        let missing = tables.missingPins
        guard !missing.isEmpty else { return repairs }
        let resource = XDPResource.pins(missing).managed
        do {
            // The directory and bpffs itself may be gone, too.
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
            // Some resources may be restored despite the error.
            let left = Set((try? stillMissing()) ?? missing)
            repairs.failed += left.map { ($0.managed, error) }
            repairs.restored = missing.filter { !left.contains($0) }.map(\.managed)
        }
        let answering = interfacesOfExpectedAnswers(tree)
        repairs.disturbedChecks = missing.contains { CheckDevice.isNeededByChecks($0, answering: answering) }
        return repairs
    }

    /// Returns the names of the interfaces of the routes to real servers and of the VIPs.
    private func interfacesOfExpectedAnswers(_ tree: LinkTree) -> Set<String> {
        let servers = tables.serverAddresses.union(demandedServers)
        let routed = servers.compactMap { tables.path(to: $0)?.routeInterface }
        return Set((routed + ingress.map(\.link.index)).compactMap { tree.link(index: $0)?.name })
    }

    private func stillMissing() throws -> [XDPResource] { checkDevice.missing(in: try checkPathView()).resources }

    private func remakeCheckDevice() throws {
        guard let directory = setup.instance.existingBPFDirectory() else {
            throw DataPlaneError(.kernel, "find the data plane's maps on bpffs: they are gone")
        }
        let listened = listening
        try useCheckDevice(below: directory, checks: checkDevice.takesChecks)
        try listened.forEachDespiteErrors { try listen(on: $0) }
    }
}

/// A change of the machine that the XDP data plane needs permanently, with its name for logs and events.
enum XDPResource: Hashable, CustomStringConvertible {
    case address(IPAddress, interface: String)
    /// The pair ipvsd0 and ipvsd1, whose ends exist together.
    case checkDevice
    /// The pins for the next daemon, by their names below the instance's directory on bpffs.
    case pins([String])
    /// A property of a device, such as "UP" or "MTU".
    case state(String, of: String)
    /// A key below /proc/sys.
    case sysctl(String)
    /// The tc program that carries checks, with the clsact qdisc that it needs.
    case program(BPFProgram.TrafficControlHook.Direction, interface: String)
    /// The tc program on an interface without the packet program.
    case strayProgram(interface: String)
    /// The rows of the map `strays`, which that program reads.
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
