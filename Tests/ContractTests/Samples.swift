import Addresses
import DataPlane
import FoundationEssentials
import LoadBalancing
import Testing

@testable import Director
@testable import Netlink
@testable import TunnelSetup
@testable import XDPDataPlane
@testable import ipvsd

/// Values of what is printed in JSON: one with every field, and one with as few as possible.
struct Samples<Value> {
    var filled: Value
    var bare: Value

    var all: [Value] { [filled, bare] }
}

enum Sample {
    static func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }
    static func ipv4(_ text: String) throws -> IPv4Address { try #require(IPv4Address(text)) }

    private static func decode<Value: Decodable>(_ text: String, as type: Value.Type = Value.self) throws -> Value {
        try JSONDecoder().decode(type, from: Data(text.utf8))
    }

    static func status() throws -> Samples<DirectorStatus> {
        Samples(
            filled: try decode(try Snapshot.fixture("status-filled.json")),
            bare: try decode(try Snapshot.fixture("status-bare.json")))
    }

    static func event() throws -> Samples<DirectorEvent> {
        let service = ServiceAddress(vip: try address("10.0.0.100"), port: 80, transport: .tcp)
        let standing = DirectorEvent.Standing(up: 1, total: 2, weight: 1, quorum: 1)
        return Samples(
            filled: DirectorEvent(
                sequence: 1, kind: .serverDown, service: service, server: try address("10.0.0.11"), reason: "refused",
                since: Date(timeIntervalSince1970: 0), standing: standing),
            bare: DirectorEvent(kind: .serviceDown, service: service, standing: standing))
    }

    static func drainReport() throws -> Samples<DrainReport> {
        let fields = #""server":"10.0.0.11","changed":true,"inForce":true"#
        let service = #""service":"10.0.0.100:80/tcp","active":1,"inactive":2,"movesPersistent":true"#
        return Samples(
            filled: try decode(
                "{\(fields),\"services\":[{\(service),\"drained\":\"1970-01-01T00:00:00Z\",\"persistence\":300}]}"),
            bare: try decode("{\(fields),\"services\":[{\(service)}]}"))
    }

    static func drainRequest() -> Samples<DrainRequest> {
        var filled = DrainRequest(server: "10.0.0.11", service: "10.0.0.100", force: true, movePersistent: true)
        filled.moveDatagrams = true
        filled.onlyIfDrained = true
        return Samples(filled: filled, bare: DrainRequest(server: "10.0.0.11"))
    }

    static func overrides() throws -> Overrides {
        var overrides = Overrides()
        let service = ServiceAddress(vip: try address("10.0.0.100"), port: 80, transport: .tcp)
        _ = overrides.drain(
            try address("10.0.0.11"), service: service, since: Date(timeIntervalSince1970: 0), movesPersistent: true,
            movesDatagrams: true)
        _ = overrides.drain(try address("10.0.0.12"), service: nil, since: Date(timeIntervalSince1970: 0))
        return overrides
    }

    static func flow() throws -> Flow {
        Flow(
            transport: .tcp, client: try address("192.0.2.7"), clientPort: 41234, vip: try address("10.0.0.100"),
            port: 80,
            server: try address("10.0.0.11"), state: .established, remaining: .seconds(900))
    }

    static func explanation() throws -> Samples<Explanation> {
        let (client, vip) = (try ipv4("192.0.2.7"), try ipv4("10.0.0.100"))
        func packet(_ transport: TransportProtocol) -> ExplainedPacket {
            ExplainedPacket(client: client, clientPort: 41234, vip: vip, port: 80, transport: transport)
        }
        let status = try status()
        let decision = try decision()
        return Samples(
            filled: Explanation(of: packet(.tcp), decision: decision.filled, status: status.filled, egress: "eth0"),
            bare: Explanation(of: packet(.udp), decision: decision.bare, status: status.bare, egress: nil))
    }

    private static func decision() throws -> Samples<PacketDecision> {
        let server = try ipv4("10.0.0.11")
        let vip = try ipv4("10.0.0.100")
        func service(
            _ listener: ServiceAddress, _ scheduler: Scheduler?, _ number: Int?
        ) -> PacketDecision.Service {
            PacketDecision.Service(
                listener: listener, listeners: [listener], scheduler: scheduler, comparesBy: scheduler,
                schedulerFlags: ["mh-port"], persistence: number, persistencePrefixLength: number, isOnePacket: false,
                onServerLoss: .keep, onServerRemoval: .move, index: 1)
        }
        func connection(_ server: IPv4Address?) -> PacketDecision.Connection {
            PacketDecision.Connection(
                state: .established, isBare: false, server: server, serverStanding: .up, idle: 0.5, remaining: 1.5,
                bucket: 1,
                isInSecondBucket: false, isInOwnHalf: true, isInFormerTable: false)
        }
        func template(_ server: IPv4Address?) throws -> PacketDecision.Template {
            PacketDecision.Template(
                client: try ipv4("192.0.2.0"), prefixLength: 24, server: server, remaining: 1.5, standing: .heeded,
                isConfirmed: true)
        }
        func choice(_ server: IPv4Address?, _ slot: Int?) -> PacketDecision.Choice {
            PacketDecision.Choice(
                occasion: .newConnection,
                choice: ServerChoice(
                    method: .maglev, slot: slot, slots: slot, server: server))
        }
        func way(_ nextHop: String?) -> PacketDecision.Way {
            PacketDecision.Way(
                isLocal: false, source: server, destination: server, dontFragment: true, length: 80, mtu: 1500,
                largest: 1480, sourceMAC: "02:00:00:00:00:01", nextHopMAC: nextHop, tags: ["802.1q 100"], interface: 2,
                canFragment: false)
        }
        var filled = PacketDecision()
        filled.verdict = .forwarded
        filled.reason = "forwarded"
        filled.events = ["rescheduled"]
        filled.server = server
        filled.service = service(ServiceAddress(vip: .v4(vip), port: 80, transport: .tcp), .mh, 24)
        filled.connection = connection(server)
        filled.template = try template(server)
        filled.choices = [choice(server, 1)]
        filled.forgettings = [.flood]
        filled.candidates = [
            PacketDecision.Candidate(
                server: server, schedulerWeight: 1, isOverloaded: false, active: 1, inactive: 1, slots: 1,
                maglevSlots: 1,
                unanswered: 0)
        ]
        filled.recording = .recorded
        filled.way = way("02:00:00:00:00:02")
        filled.ownMACs = ["02:00:00:00:00:01"]
        // A second value of each part, which lacks what it may lack.
        var bare = PacketDecision()
        bare.service = service(ServiceAddress(vip: .v4(vip)), nil, nil)
        bare.connection = connection(nil)
        bare.template = try template(nil)
        bare.choices = [choice(nil, nil)]
        bare.way = way(nil)
        return Samples(filled: filled, bare: bare)
    }

    static func tunnels() throws -> Samples<ListedTunnel> {
        let (local, remote) = (try address("10.0.0.2"), try address("10.0.0.11"))
        func link(_ name: String) -> Link {
            Link(
                index: 2, name: name, kind: nil, mtu: 1480, isUp: true, hasCarrier: true, isLoopback: false,
                hardwareType: 768, address: nil, master: nil, lower: nil, tag: nil, filtersVLANs: false, noARP: true,
                transmitErrors: 0, transmitDropped: 0)
        }
        let own = InterfaceAddress(interface: 2, address: local, prefixLength: 32)
        var peered = own
        peered.peer = remote
        return Samples(
            filled: ListedTunnel(
                tunnel: Tunnel(
                    interface: 2, name: "t", kind: "ipip", isUp: true, local: local.v4, remote: remote.v4, ttl: 64,
                    lower: 3),
                link: link("t"), lower: link("eth0"), addresses: [peered]),
            bare: ListedTunnel(
                tunnel: Tunnel(interface: 2, name: "t", kind: "ipip", isUp: true), link: link("t"), lower: nil,
                addresses: [own]))
    }
}
