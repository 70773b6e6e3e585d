import Addresses
import LoadBalancing
import Netlink
import XDPDataPlane

/// Parses an address in a test. A text that is not an address is a programmer's error.
func address(_ text: String) -> IPv4Address {
    guard let address = IPv4Address(text) else { preconditionFailure("\(text) is no address") }
    return address
}

/// The client, VIPs and real servers of the fixtures. Each service has one real server, so that a fixture knows where
/// its packet goes.
enum Standard {
    static let client = address("192.0.2.7")
    static let clientPort: UInt16 = 40000

    /// A VIP with services at port 80 of TCP and of UDP, and at all other ports.
    static let main = address("198.51.100.10")
    /// A VIP with a service at port 80 of TCP alone.
    static let strict = address("198.51.100.20")
    /// A VIP whose service has no real servers.
    static let empty = address("198.51.100.30")
    /// A VIP whose real servers all have weight 0.
    static let quiesced = address("198.51.100.40")
    /// A VIP whose real server's next hop has no known MAC address.
    static let unresolved = address("198.51.100.50")
    /// A VIP to whose real server there is no route.
    static let unrouted = address("198.51.100.60")
    /// A VIP whose packets leave by XDP_TX.
    static let transmitting = address("198.51.100.70")
    /// A VIP whose real server has a path MTU of 1,000.
    static let narrow = address("198.51.100.80")
    /// A VIP with a service at port 80, whose scheduler is mh.
    static let hashed = address("198.51.100.90")
    /// A VIP whose only real server is down.
    static let down = address("198.51.100.100")

    /// A VIP whose real server is behind an 802.1Q device.
    static let tagged = address("198.51.100.110")
    /// A VIP whose real server is behind an 802.1Q device on an 802.1ad device.
    static let doublyTagged = address("198.51.100.120")
    /// A VIP whose packets leave with a tag by XDP_TX, with a path MTU of 1,000.
    static let taggedTransmitting = address("198.51.100.130")
    /// A VIP whose real server is the director itself.
    static let local = address("198.51.100.140")

    static let web = path(1)
    static let datagrams = path(2)
    static let anyPort = path(3)
    static let viaTransmit = path(7) { $0.transmits = true }
    static let viaNarrow = path(8) { $0.mtu = 1000 }
    static let byHash = path(9)
    static let viaTag = path(10) { $0.tags = [VLANTag(id: 100)] }
    static let viaTwoTags = path(11) { $0.tags = [VLANTag(protocolID: 0x88A8, id: 7), VLANTag(id: 4094)] }
    static let viaTagTransmit = path(12) { ($0.tags, $0.transmits, $0.mtu) = ([VLANTag(id: 1)], true, 1000) }
    static let viaStack = Path.local(server(13), interface: 1)

    /// Returns the path to real server 10.0.0.`number`.
    static func path(_ number: UInt8, _ adjust: (inout Path) -> Void = { _ in }) -> Path {
        var path = Path(
            source: address("203.0.113.\(number)"), destination: server(number), interface: 1,
            sourceMAC: mac(number, 1), nextHopMAC: mac(number, 2), mtu: 1500, transmits: false)
        adjust(&path)
        return path
    }

    static func server(_ number: UInt8) -> IPv4Address { address("10.0.0.\(number)") }

    static func realServer(_ number: UInt8, weight: UInt16 = 1) -> RealServer {
        RealServer(address: server(number), weight: weight)
    }

    static func down(_ numbers: Set<UInt8>) -> [IPAddress: EffectiveWeight] {
        Dictionary(uniqueKeysWithValues: numbers.map { (.v4(server($0)), .down) })
    }

    private static func http(
        _ vip: IPv4Address, _ servers: [RealServer], by scheduler: Scheduler = .rr, down numbers: Set<UInt8> = []
    ) -> VirtualService {
        VirtualService(
            VirtualService(
                address: ServiceAddress(vip: vip, port: 80, transport: .tcp), scheduler: scheduler, servers: servers),
            effective: down(numbers))
    }

    private static func anyPort(_ vip: IPv4Address, _ servers: [RealServer]) -> VirtualService {
        VirtualService(address: ServiceAddress(vip: vip), scheduler: .rr, servers: servers)
    }

    static let configuration = Configuration(
        services: [
            http(main, [realServer(1)]),
            VirtualService(
                address: ServiceAddress(vip: main, port: 80, transport: .udp), scheduler: .rr,
                servers: [realServer(2)]),
            anyPort(main, [realServer(3)]),
            http(strict, [realServer(1)]),
            anyPort(empty, []),
            http(quiesced, [realServer(1, weight: 0), realServer(2, weight: 0)], by: .wrr),
            anyPort(unresolved, [realServer(5)]),
            http(unrouted, [realServer(6)]),
            anyPort(transmitting, [realServer(7)]),
            anyPort(narrow, [realServer(8)]),
            http(hashed, [realServer(9)], by: .mh),
            anyPort(tagged, [realServer(10)]),
            anyPort(doublyTagged, [realServer(11)]),
            anyPort(taggedTransmitting, [realServer(12)]),
            anyPort(local, [realServer(13)]),
            http(down, [realServer(1)], by: .wlc, down: [1]),
        ],
        paths: [
            web, datagrams, anyPort, path(5) { $0.nextHopMAC = nil }, viaTransmit, viaNarrow, byHash, viaTag,
            viaTwoTags, viaTagTransmit, viaStack,
        ])
}

/// The daemon's decisions about a real server, beside its configuration.
extension RealServer {
    var isAsConfigured: Bool { effective == .listed(weight: weight) }

    var asConfigured: RealServer { RealServer(address: address, weight: weight, thresholds: thresholds) }

    mutating func serveByWeight() {
        let before = self
        self = before.asConfigured
        movesPersistent = before.movesPersistent
        movesDatagrams = before.movesDatagrams
    }
}

extension VirtualService {
    init(_ configured: VirtualService, effective: [IPAddress: EffectiveWeight], startsSlowly: Bool = false) {
        self = configured
        self.effective = effective
        self.startsSlowly = startsSlowly
    }

    /// The effective weights that differ from the configured ones, by address. Setting them resets all others.
    var effective: [IPAddress: EffectiveWeight] {
        get {
            let decided = servers.filter { !$0.isAsConfigured }.map { ($0.address, $0.effective) }
            return Dictionary(decided, uniquingKeysWith: { one, _ in one })
        }
        set {
            for index in servers.indices {
                servers[index].serveByWeight()
                if let weight = newValue[servers[index].address] { servers[index].effective = weight }
            }
        }
    }

    /// The service without the daemon's decisions about its real servers.
    var asConfigured: VirtualService {
        var service = self
        service.servers = servers.map(\.asConfigured)
        service.startsSlowly = false
        return service
    }

    struct Standing: Equatable {
        var configured: RealServer
        var standing: EffectiveWeight.Standing
        var weight: UInt16
        var tenths: Int
        var movesPersistent: Bool
        var movesDatagrams: Bool
    }

    /// The real servers' standings, sorted by address, since a data plane has servers in the order of their rows.
    var standings: [Standing] {
        servers.sorted { $0.address < $1.address }.map {
            Standing(
                configured: $0.asConfigured, standing: $0.effective.standing, weight: $0.effective.weight,
                tenths: $0.effective.tenths, movesPersistent: $0.movesPersistent, movesDatagrams: $0.movesDatagrams)
        }
    }

    mutating func change(_ address: IPAddress, _ body: (inout RealServer) -> Void) {
        for index in servers.indices where servers[index].address == address { body(&servers[index]) }
    }
}
