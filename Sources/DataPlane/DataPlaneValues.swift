public import Addresses
public import LoadBalancing
internal import Netlink

/// A real server of a service.
public struct ServiceMember: Sendable, Hashable {
    public var service: ServiceAddress
    public var server: IPAddress

    public init(service: ServiceAddress, server: IPAddress) {
        self.service = service
        self.server = server
    }
}

/// What a data plane has to have room for, and what it is told of the configuration besides its services.
public struct DataPlaneDemand: Sendable, Hashable {
    public var services: [VirtualService]
    /// Connections for which there is room at ease.
    public var connections: Int
    /// The outer source of tunnelled packets varies in this prefix by the flow; nil: it is the director's own address.
    public var outerSources: IPPrefix?
    /// Whether the director puts the VIPs on interfaces.
    public var managesAddress: Bool
    /// Whether real servers are checked by the way that clients' packets take.
    public var carriesChecks: Bool

    public init(
        services: [VirtualService], connections: Int, outerSources: IPPrefix?, managesAddress: Bool,
        carriesChecks: Bool
    ) {
        self.services = services
        self.connections = connections
        self.outerSources = outerSources
        self.managesAddress = managesAddress
        self.carriesChecks = carriesChecks
    }

    public var vips: Set<IPAddress> { Set(services.flatMap(\.listeners).map(\.vip)) }
}

/// Limits that hold for all services.
public struct DataPlaneLimits: Sendable, Hashable {
    public var timeouts: Timeouts
    /// While so many connections are half-open, new ones are not recorded; 0: any number may be, nil: the data plane's
    /// own limit.
    public var halfOpen: UInt32?
    /// SYNs without a completed handshake that make a real server silent; 0: no number does.
    public var silentAfter: UInt32

    public init(timeouts: Timeouts, halfOpen: UInt32?, silentAfter: UInt32) {
        self.timeouts = timeouts
        self.halfOpen = halfOpen
        self.silentAfter = silentAfter
    }
}

/// How packets get to a real server, as routes and neighbours say.
public struct ServerRoute: Sendable, Hashable {
    /// The outer source address.
    public var source: IPAddress
    public var server: IPAddress
    /// The interface that the route names.
    public var interface: Int32
    /// Nil where that interface has none.
    public var sourceMAC: MACAddress?
    /// Nil while the next hop has not answered.
    public var nextHopMAC: MACAddress?
    /// The size limit of the outer packet, in bytes.
    public var mtu: UInt32
    /// The real server is the director itself.
    public var isLocal: Bool

    public init(
        source: IPAddress, server: IPAddress, interface: Int32, sourceMAC: MACAddress?, nextHopMAC: MACAddress?,
        mtu: UInt32, isLocal: Bool = false
    ) {
        self.source = source
        self.server = server
        self.interface = interface
        self.sourceMAC = sourceMAC
        self.nextHopMAC = nextHopMAC
        self.mtu = mtu
        self.isLocal = isLocal
    }

    /// To the director itself, by one of its own addresses.
    public static func local(_ address: IPAddress, interface: Int32) -> ServerRoute {
        ServerRoute(
            source: address, server: address, interface: interface, sourceMAC: nil, nextHopMAC: nil, mtu: 65535,
            isLocal: true)
    }
}

/// The two ends of a flow, as the client knows it.
public struct FlowEnds: Sendable, Equatable {
    public var transport: TransportProtocol
    public var client: IPAddress
    public var clientPort: UInt16
    public var vip: IPAddress
    public var port: UInt16

    public init(
        transport: TransportProtocol, client: IPAddress, clientPort: UInt16, vip: IPAddress, port: UInt16
    ) {
        self.transport = transport
        self.client = client
        self.clientPort = clientPort
        self.vip = vip
        self.port = port
    }
}

/// The settings of a socket whose packets go the way of the clients' packets to one real server.
public struct CheckSocket: Sendable, Hashable {
    public var mark: UInt32
    /// The device to which it is bound.
    public var device: Int32

    public init(mark: UInt32, device: Int32) {
        self.mark = mark
        self.device = device
    }
}

/// What carries the question of a check and its answer.
public enum CheckTransport: Sendable, Hashable {
    case tcp(port: UInt16)
    case udp(port: UInt16)
    /// An ICMP echo request.
    case echo
}

/// The packets of all checks of one real server by one transport. The counts wrap around.
public struct CheckTraffic: Sendable, Hashable {
    /// SYNs, datagrams and echo requests that left by the check device.
    public var sent: UInt32
    /// Answers to SYNs and echo requests that came in on it while they were waited for. Datagrams are not counted.
    public var answered: UInt32
    /// `answered` when one of the sockets last acknowledged something; nil of transports that acknowledge nothing.
    public var heard: UInt32?

    public init(sent: UInt32, answered: UInt32, heard: UInt32?) {
        self.sent = sent
        self.answered = answered
        self.heard = heard
    }
}

/// The interfaces by which clients' packets come in, for `ipvsd status`.
public struct InterfaceReport: Sendable, Hashable {
    /// How packets are taken; nil where none are.
    public var mode: String?
    public var names: [String]
    /// Packets that drivers failed to send or dropped, by interface, since it exists.
    public var transmitErrors: [String: UInt64]

    public init(mode: String?, names: [String], transmitErrors: [String: UInt64]) {
        self.mode = mode
        self.names = names
        self.transmitErrors = transmitErrors
    }
}

/// Something that a director has put into its machine and goes on needing there, by the name that log and events use.
public struct ManagedResource: Sendable, Hashable, CustomStringConvertible {
    public var description: String

    public init(_ description: String) { self.description = description }
}

/// Resources that were missing, and the result of their repair.
public struct Repairs {
    public var restored: [ManagedResource] = []
    public var failed: [(resource: ManagedResource, error: any Error)] = []
    /// Checks that were under way may have failed for want of it.
    public var disturbedChecks = false

    public init() {}
}

/// Why a data plane cannot do what it is asked, by what the operator can do about it.
public struct DataPlaneError: Error, CustomStringConvertible {
    public enum Kind: Sendable {
        /// An interface is missing, or something else holds it.
        case interface
        /// The kernel refuses.
        case kernel
    }

    public let kind: Kind
    public let description: String

    public init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }
}

/// The stored state of a data plane, which any process can read.
public struct StoredDataPlane: Sendable {
    public var snapshot: DataPlaneSnapshot
    public var interfaces: InterfaceReport
    public var strays: [StrayPlace: StrayPackets]

    public init(snapshot: DataPlaneSnapshot, interfaces: InterfaceReport, strays: [StrayPlace: StrayPackets]) {
        self.snapshot = snapshot
        self.interfaces = interfaces
        self.strays = strays
    }
}

/// An interface and a VIP for which packets may come in there past the data plane.
public struct StrayPlace: Hashable, Sendable {
    public var interface: Int32
    public var vip: IPAddress

    public init(interface: Int32, vip: IPAddress) {
        self.interface = interface
        self.vip = vip
    }
}

/// Packets for a service that came in past the data plane.
public struct StrayPackets: Equatable, Sendable {
    public var count: UInt64
    /// How long ago the last one came.
    public var age: Duration

    public init(count: UInt64, age: Duration) {
        self.count = count
        self.age = age
    }
}
