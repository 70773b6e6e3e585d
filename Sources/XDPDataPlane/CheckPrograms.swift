internal import Addresses
public import BPF
public import DataPlane
internal import Glibc
public import Netlink
internal import PacketPrograms

/// The tc programs that carry health checks through the tunnel. They share the director's pinned maps.
public struct CheckPrograms {
    private let object: BPFObject
    private let traffic: BPFMap<ipvsd_check_key, ipvsd_check_traffic>

    public static let priority: UInt32 = 0x1b50
    public static let handle: UInt32 = 1
    private static let trafficMap = "check_traffic"

    /// Loads the programs. `device` is ipvsd0: packets that leave it are encapsulated, and answers come back into it.
    /// `servers` is the number of rows of real servers, whose checks are counted.
    public init(directory: String, device: Link, servers: Int) throws(BPFError) {
        object = try BPFObject(.check)
        var mac = device.address?.bytes ?? [0, 0, 0, 0, 0, 0]
        mac += [0, 0]
        try object.setReadOnlyData(
            ipvsd_check_constants(
                check_ifindex: UInt32(device.index),
                check_mac: (mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], mac[6], mac[7])))
        try object.reuseDirectorMaps(below: directory)
        // Several times the needed entries, since an LRU map evicts early when other CPUs' free lists hold room.
        for map in [Self.trafficMap, "check_echoes"] { try object.setMaxEntries(max(4 * servers, 16_384), ofMap: map) }
        try object.load()
        traffic = try BPFMap(name: Self.trafficMap, descriptor: try object.descriptor(ofMap: Self.trafficMap))
    }

    /// Returns the counts of a real server's checks, which wrap around; nil where none are kept. With `begins`, absent
    /// counts are made, and begin at zero.
    public func traffic(
        server id: UInt32, by transport: CheckTransport, begins: Bool
    ) throws(BPFError) -> CheckTraffic? {
        let key = ipvsd_check_key(server: id, transport)
        var counts = try traffic.value(for: key)
        if counts == nil, begins, try traffic.insert(ipvsd_check_traffic(), for: key) { counts = ipvsd_check_traffic() }
        guard let counts else { return nil }
        return CheckTraffic(
            sent: counts.sent, answered: counts.answered, heard: transport.isAcknowledged ? counts.heard : nil)
    }

    public static func hook(interface: Int32, direction: BPFProgram.TrafficControlHook.Direction)
        -> BPFProgram.TrafficControlHook
    {
        BPFProgram.TrafficControlHook(interface: interface, direction: direction, priority: priority, handle: handle)
    }

    /// Attaches the program that encapsulates packets that leave the device.
    public func attachEgress(device: Int32) throws(BPFError) {
        try Self.hook(interface: device, direction: .egress).attach(object.program(named: "check_egress"))
    }

    /// Attaches the program that drops packets from a VIP that come in on the device and answer no check.
    public func attachAnswers(device: Int32) throws(BPFError) {
        try Self.hook(interface: device, direction: .ingress).attach(object.program(named: "check_answers"))
    }

    /// Attaches the program that moves answers from this interface to the device.
    public func attachIngress(interface: Int32) throws(BPFError) {
        try Self.hook(interface: interface, direction: .ingress).attach(object.program(named: "check_ingress"))
    }
}

extension ipvsd_check_key {
    fileprivate init(server: UInt32, _ transport: CheckTransport) {
        let (number, port): (Int, UInt16) =
            switch transport {
            case .tcp(let port): (IPPROTO_TCP, port)
            case .udp(let port): (IPPROTO_UDP, port)
            case .echo: (IPPROTO_ICMP, 0)
            }
        self.init(server: server, port: port.bigEndian, protocol: UInt8(number), unused: 0)
    }
}

extension CheckTransport {
    /// Whether a socket acknowledges what it receives.
    fileprivate var isAcknowledged: Bool { if case .tcp = self { true } else { false } }
}
