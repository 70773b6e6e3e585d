public import Addresses
public import BPF
internal import Glibc
internal import LoadBalancing
internal import Netlink
internal import PacketPrograms

/// The packet program that says what it would do with a packet, over the maps of the one that forwards. It has one trace:
/// no two runs may be at the same time.
struct ExplainingProgram {
    private let program: BPFProgram
    private let trace: BPFMap<UInt32, ipvsd_trace>

    /// Of the program, and of its pin.
    static let name = "explain"

    /// Loads it over the maps of the loaded packet program, with the same constants.
    static func load(
        beside director: BPFObject, constants: ipvsd_director_constants
    ) throws(BPFError) -> BPFObject {
        let object = try BPFObject(.explain)
        for map in MapCatalogue.all {
            let shared = try director.descriptor(ofMap: map.name)
            try object.reuse(descriptor: shared.number, forMap: map.name)
        }
        try object.setReadOnlyData(constants)
        try object.load()
        return object
    }

    /// Has the kernel verify it, and lets it go.
    static func tryLoading() throws(BPFError) { try BPFObject(.explain).load() }

    static func program(of object: BPFObject) throws(BPFError) -> BPFProgram { try object.program(named: name) }

    init(of object: BPFObject) throws(BPFError) {
        program = try Self.program(of: object)
        trace = try BPFMap(name: "trace", descriptor: object.descriptor(ofMap: "trace"))
    }

    /// The pinned one; nil where there is none. Throws where its trace has another layout.
    init?(pinnedAt path: String) throws(BPFError) {
        guard let program = try BPFProgram(pinnedAt: path), let map = try program.map(ofSection: ".data.trace") else {
            return nil
        }
        self.program = program
        trace = try BPFMap(name: "trace", descriptor: map)
    }

    /// Whether it looks at that map.
    func uses(map: BPFDescriptor) throws(BPFError) -> Bool { try program.uses(map: map) }

    /// What becomes of the packet as a frame to that MAC. `ingress`: the index of the interface by which it comes in; nil:
    /// any.
    func trace(of packet: ExplainedPacket, to mac: MACAddress, ingress: UInt32? = nil) throws(BPFError) -> ipvsd_trace {
        _ = try program.testRun(packet: packet.headers(to: mac), ingress: ingress)
        guard let trace = try trace.value(for: 0) else { throw BPFError("read the trace of a packet", code: 0) }
        return trace
    }
}

extension ExplainedPacket {
    /// A frame that has the headers alone, padded to Ethernet's minimum. What is after them makes no difference.
    fileprivate func headers(to mac: MACAddress) -> [UInt8] {
        func big(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(truncatingIfNeeded: value)] }
        func big(_ address: IPv4Address) -> [UInt8] {
            [UInt16(address.value >> 16), UInt16(truncatingIfNeeded: address.value)].flatMap(big)
        }
        var bytes = mac.bytes + Self.sender + big(0x0800)
        bytes += [0x45, 0] + big(UInt16(length)) + [0, 0] + big(mayBeFragmented ? 0 : 0x4000)
        bytes += [64, transport.number, 0, 0] + big(client) + big(vip)
        bytes += big(clientPort) + big(port)
        switch transport {
        case .tcp: bytes += [0, 0, 0, 1, 0, 0, 0, 1, 5 << 4, flags] + big(65535) + [0, 0, 0, 0]
        case .udp: bytes += big(UInt16(length - 20)) + [0, 0]
        }
        return bytes + [UInt8](repeating: 0, count: max(0, 60 - bytes.count))
    }

    /// A MAC that is administered locally.
    private static let sender: [UInt8] = [2, 0, 0, 0, 0, 1]

    /// RFC 9293 section 3.1.
    private var flags: UInt8 {
        switch segment {
        case .syn: 0x02
        case .fin: 0x11
        case .rst: 0x04
        case .ack, nil: 0x10
        }
    }
}

/// What becomes of a packet, by the program that forwards, compiled to explain.
extension XDPDataPlane {
    /// By what is pinned below `directory`, with or without a daemon; nil where there is no data plane. Nobody else may run
    /// the program meanwhile.
    public static func decision(
        on packet: ExplainedPacket, below directory: String
    ) throws(BPFError) -> PacketDecision? {
        guard let maps = try DirectorMaps(directory: directory, writable: false),
            try BPFProgram(pinnedAt: programPin(directory: directory)) != nil
        else { return nil }
        let places = PinPlaces.present(below: directory)
        let path = places.path(ofProgram: explainingPin(directory: directory))
        guard let program = try ExplainingProgram(pinnedAt: path), try readsTables(program, below: directory, places)
        else { throw explanationIsMissing(below: directory) }
        let ingress = try RunningPrograms(directory: directory).interfaces.first
        let trace = try program.trace(of: packet, to: maps.ownMACs.first ?? .zero, ingress: ingress)
        return try PacketDecision(on: packet, by: trace, of: maps)
    }

    /// Whether the program reads the tables of the data plane: growth makes another flow table, a change of the layout other
    /// listeners.
    private static func readsTables(
        _ program: ExplainingProgram, below directory: String, _ places: PinPlaces
    ) throws(BPFError) -> Bool {
        for map in [MapCatalogue.flows.map, MapCatalogue.listenerCache.map] {
            guard let pinned = try BPFDescriptor(pinnedAt: places.path(of: map, below: directory)),
                try program.uses(map: pinned)
            else { return false }
        }
        return true
    }

    /// Why no pinned program explains what the data plane does: the kernel refuses it now, or did so then, or the director
    /// does not know it. One that an older director left pinned has other tables than this director.
    private static func explanationIsMissing(below directory: String) -> BPFError {
        let operation = "explain a packet by the data plane below \(directory)"
        do throws(BPFError) { try ExplainingProgram.tryLoading() } catch {
            return BPFError(
                "\(operation): the kernel refuses the program that explains: \(error.operation)", code: error.code,
                detail: error.detail)
        }
        return BPFError(
            "\(operation): an older director loaded it, or the kernel refused the program that explains then, as the "
                + "director's log says; one of this version, started in its place, brings that program", code: ENOENT)
    }

    /// Why this data plane has no program that explains; nil: it has one.
    public var explainingRefusal: BPFError? {
        if case .failure(let error) = explainingObject { error } else { nil }
    }

    /// The same by this data plane's own programs.
    func decision(on packet: ExplainedPacket) throws(BPFError) -> PacketDecision {
        try PacketDecision(on: packet, by: trace(of: packet), of: maps)
    }

    private func trace(of packet: ExplainedPacket) throws(BPFError) -> ipvsd_trace {
        try ExplainingProgram(of: explainingObject.get()).trace(of: packet, to: maps.ownMACs.first ?? .zero)
    }

    /// Returns whether packets of this flow go to this real server: it is recorded so, or may go on without a record. True
    /// where no program can tell: the answer allows a probe, and not to probe may leave a path MTU unknown. Nobody else may
    /// run the program meanwhile.
    public func mayHaveSent(_ packet: ExplainedPacket, to server: IPv4Address) throws(BPFError) -> Bool {
        if explainingRefusal != nil { return true }
        var packet = packet
        if packet.transport == .tcp { packet.segment = .ack }
        let trace = try trace(of: packet)
        guard trace.service != 0 else { return false }
        if trace.service_flags & IPVSD_SERVICE_ONE_PACKET != 0 { return true }
        guard trace.flow_value != 0 else {
            return UInt32(trace.forgettings) & (IPVSD_FORGETTING_NO_ROOM | IPVSD_FORGETTING_FLOOD) != 0
        }
        return maps.address(ofServer: ipvsd_flow_server(trace.flow_value)) == server
    }
}
