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

/// The demand on a data plane: the services to make room for, and further settings.
public struct DataPlaneDemand: Sendable, Hashable {
    public var services: [VirtualService]
    /// The number of connections for which the flow table has room.
    public var connections: Int
    /// The prefix in which the outer source varies by flow; nil: the source is the director's own address.
    public var outerSources: IPPrefix?
    /// Whether the director puts the VIPs on interfaces.
    public var managesAddress: Bool
    /// Whether real servers are checked on the clients' path.
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
    /// The number of half-open connections from which on new connections are not recorded. 0: no limit; nil: the data
    /// plane's own limit.
    public var halfOpen: UInt32?
    /// The number of SYNs in a row without a completed handshake that make a real server silent; 0: no real server
    /// becomes silent.
    public var silentAfter: UInt32

    public init(timeouts: Timeouts, halfOpen: UInt32?, silentAfter: UInt32) {
        self.timeouts = timeouts
        self.halfOpen = halfOpen
        self.silentAfter = silentAfter
    }
}

/// The route of packets to a real server, from the kernel's routes and neighbours.
public struct ServerRoute: Sendable, Hashable {
    /// The outer source address.
    public var source: IPAddress
    public var server: IPAddress
    /// The index of the interface that the route names.
    public var interface: Int32
    /// The interface's MAC address; nil where the interface has none.
    public var sourceMAC: MACAddress?
    /// The next hop's MAC address; nil while the next hop has not answered.
    public var nextHopMAC: MACAddress?
    /// The size limit of the outer packet, in bytes.
    public var mtu: UInt32
    /// Whether the real server is the director itself.
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

    /// Returns the route to the director itself, by one of its own addresses.
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

/// The settings of a socket whose packets take the clients' path to one real server.
public struct CheckSocket: Sendable, Hashable {
    public var mark: UInt32
    /// The index of the device to which the socket is bound.
    public var device: Int32

    public init(mark: UInt32, device: Int32) {
        self.mark = mark
        self.device = device
    }
}

/// The transport of a check's question and answer.
public enum CheckTransport: Sendable, Hashable {
    case tcp(port: UInt16)
    case udp(port: UInt16)
    /// An ICMP echo request.
    case echo
}

/// The counts of packets of all checks of one real server by one transport. The counts wrap around.
public struct CheckTraffic: Sendable, Hashable {
    /// The number of SYNs, datagrams and echo requests that left by the check device.
    public var sent: UInt32
    /// The number of expected answers to SYNs and echo requests that came in on the device. Answers to datagrams are
    /// not counted.
    public var answered: UInt32
    /// The value of `answered` when a socket of these checks last acknowledged a segment; nil for transports without
    /// acknowledgements.
    public var heard: UInt32?

    public init(sent: UInt32, answered: UInt32, heard: UInt32?) {
        self.sent = sent
        self.answered = answered
        self.heard = heard
    }
}

/// The interfaces by which clients' packets come in, for `ipvsd status`.
public struct InterfaceReport: Sendable, Hashable {
    /// The mode of XDP; nil where no program is attached.
    public var mode: String?
    public var names: [String]
    /// The number of packets that the driver failed to send or dropped, by interface, since the interface exists.
    public var transmitErrors: [String: UInt64]

    public init(mode: String?, names: [String], transmitErrors: [String: UInt64]) {
        self.mode = mode
        self.names = names
        self.transmitErrors = transmitErrors
    }
}

/// A change of the machine that a director needs permanently, with its name for logs and events.
public struct ManagedResource: Sendable, Hashable, CustomStringConvertible {
    public var description: String

    public init(_ description: String) { self.description = description }
}

/// The resources that were missing, and the result of their repair.
public struct Repairs {
    public var restored: [ManagedResource] = []
    public var failed: [(resource: ManagedResource, error: any Error)] = []
    /// Whether running checks may have failed for lack of a resource.
    public var disturbedChecks = false

    public init() {}
}

/// An error of a data plane, with the kind of its cause.
public struct DataPlaneError: Error, CustomStringConvertible {
    public enum Kind: Sendable {
        /// An interface is missing, or another program holds it.
        case interface
        /// The kernel refuses an operation.
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

/// An interface and a VIP whose packets may come in there past the data plane.
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
    /// The time since the last packet.
    public var age: Duration

    public init(count: UInt64, age: Duration) {
        self.count = count
        self.age = age
    }
}
