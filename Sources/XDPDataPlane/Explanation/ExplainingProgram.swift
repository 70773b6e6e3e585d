public import Addresses
public import BPF
internal import Glibc
internal import LoadBalancing
internal import Netlink
internal import PacketPrograms

/// The explaining program. It is the packet program, compiled to record its decisions, over the same maps. There is one
/// trace, so that runs must not overlap.
struct ExplainingProgram {
    private let program: BPFProgram
    private let trace: BPFMap<UInt32, ipvsd_trace>

    /// The name of the program and of its pin.
    static let name = "explain"

    /// Loads the program over the maps of the loaded packet program, with the same constants.
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

    /// Has the kernel verify the program, and frees it again.
    static func tryLoading() throws(BPFError) { try BPFObject(.explain).load() }

    static func program(of object: BPFObject) throws(BPFError) -> BPFProgram { try object.program(named: name) }

    init(of object: BPFObject) throws(BPFError) {
        program = try Self.program(of: object)
        trace = try BPFMap(name: "trace", descriptor: object.descriptor(ofMap: "trace"))
    }

    /// Opens the pinned program; nil where there is none. Throws where its trace has another layout.
    init?(pinnedAt path: String) throws(BPFError) {
        guard let program = try BPFProgram(pinnedAt: path), let map = try program.map(ofSection: ".data.trace") else {
            return nil
        }
        self.program = program
        trace = try BPFMap(name: "trace", descriptor: map)
    }

    /// Whether the program uses the map.
    func uses(map: BPFDescriptor) throws(BPFError) -> Bool { try program.uses(map: map) }

    /// Runs the program on the packet in a frame to the MAC address. `ingress` is the index of the interface by which
    /// the frame comes in; nil: any.
    func trace(of packet: ExplainedPacket, to mac: MACAddress, ingress: UInt32? = nil) throws(BPFError) -> ipvsd_trace {
        _ = try program.testRun(packet: packet.headers(to: mac), ingress: ingress)
        guard let trace = try trace.value(for: 0) else { throw BPFError("read the trace of a packet", code: 0) }
        return trace
    }
}

extension ExplainedPacket {
    /// Returns a frame with the headers alone, padded to Ethernet's minimum. The program reads nothing behind them.
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

    /// A locally administered MAC address.
    private static let sender: [UInt8] = [2, 0, 0, 0, 0, 1]

    /// The TCP flags (RFC 9293, section 3.1).
    private var flags: UInt8 {
        switch segment {
        case .syn: 0x02
        case .fin: 0x11
        case .rst: 0x04
        case .ack, nil: 0x10
        }
    }
}

/// The explanation of a packet.
extension XDPDataPlane {
    /// Explains a packet by the pins below `directory`, with or without a daemon; nil where there is no data plane. No
    /// other process may run the program meanwhile.
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

    /// Whether the program reads the data plane's present tables. Growth makes another flow table, and a migration
    /// another `listener_cache`.
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

    /// Returns the reason why no pinned program fits the data plane. The kernel may refuse the program now. Otherwise
    /// the kernel refused the program when the data plane was loaded, or an older director loaded a program with other
    /// tables.
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

    /// The error by which the kernel refused the explaining program; nil: it is loaded.
    public var explainingRefusal: BPFError? {
        if case .failure(let error) = explainingObject { error } else { nil }
    }

    /// Explains a packet by this data plane's own programs.
    func decision(on packet: ExplainedPacket) throws(BPFError) -> PacketDecision {
        try PacketDecision(on: packet, by: trace(of: packet), of: maps)
    }

    private func trace(of packet: ExplainedPacket) throws(BPFError) -> ipvsd_trace {
        try ExplainingProgram(of: explainingObject.get()).trace(of: packet, to: maps.ownMACs.first ?? .zero)
    }

    /// Whether packets of this flow may have gone to this real server. The flow is recorded with this server, or may
    /// have been served without a record. The result is true without an explaining program, as a missing probe may
    /// leave a path MTU unknown. No other process may run the program meanwhile.
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
