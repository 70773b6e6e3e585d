import Addresses
import ArgumentParser
import Control
import Director
import FoundationEssentials
import HostState
import LoadBalancing
import ServiceConfiguration
import XDPDataPlane

/// `ipvsd explain`: the director's decision on a packet.
struct Explain: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Predict what the director does with a packet, and why.",
        discussion: """
            Runs a variant of the packet program over the kernel's tables, also where no daemon runs. Nothing is changed: \
            no connection is recorded, nothing is counted, no scheduler's turn is taken. The output names the packet's \
            service, its connection, the chosen real server beside the others, the outer header, and the way out. Reasons \
            why real servers are out come from the daemon, where one runs.

              ipvsd explain 192.0.2.7:41234 10.0.0.100:80          a client's first packet
              ipvsd explain 192.0.2.7:41234 10.0.0.100:80 --ack    a later one
              ipvsd explain 192.0.2.7:41234 10.0.0.100:53/udp --length 1500 --fragmentable

            The prediction holds at this moment. The next new connection of the service changes the turn of rr and wrr \
            and the draw of twos. Schedulers that compare connections may choose otherwise when one begins or ends. The \
            packet is taken to be whole, correct, and sent to the director's MAC. The director's limit of answers a second \
            is taken not to be reached.

            In JSON 'reason' and 'events' are the names by which 'ipvsd status' counts such packets. Parts that the \
            packet does not reach are left out.

            Exit codes: 0 the packet would go to a real server, 1 it would not, 3 there is no data plane, 64 a bad value, 71 \
            the kernel refuses, 77 no privilege.
            """)

    enum Segment: String, EnumerableFlag {
        case syn, ack, fin, rst

        static func help(for value: Segment) -> ArgumentHelp? {
            switch value {
            case .syn: "A SYN: TCP's first packet. The default."
            case .ack: "An ACK, a packet of a connection; what --length has beyond 40 bytes is data."
            case .fin: "A FIN with ACK: the client ends the connection."
            case .rst: "A RST: the client aborts it."
            }
        }
    }

    @Argument(help: ArgumentHelp("Where the packet comes from, as A.B.C.D:PORT.", valueName: "client"))
    var client: String

    @Argument(help: ArgumentHelp("Where it goes, as A.B.C.D:PORT[/tcp|udp].", valueName: "vip"))
    var vip: String

    @Flag(exclusivity: .exclusive) var segment: Segment?

    @Option(help: ArgumentHelp("The packet's length, IP header included.", valueName: "bytes"))
    var length = 60

    @Flag(help: "The packet may be fragmented: it does not have DF set.")
    var fragmentable = false

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var common: CommonOptions

    func run() async throws {
        let isForwarded = try await reporting {
            try requireRoot(to: "read the director's tables")
            let packet = try packet()
            let instance = try common.instance()
            // The status is read first, as the tables change more often.
            guard let status = try await status(of: instance),
                let (decision, egress) = try XDPHost.decision(on: packet, instance)
            else { throw Failure(.noDaemon, "no director runs here, and there is no data plane") }
            let explanation = Explanation(of: packet, decision: decision, status: status, egress: egress)
            if json {
                print(String(decoding: try explanation.json(), as: UTF8.self))
            } else {
                print(ExplanationText(explanation).text)
            }
            return explanation.decision.verdict == .forwarded && !explanation.isDetached
        }
        if !isForwarded { throw ExitCode(1) }
    }

    /// Returns the daemon's status, or that of the maps where no daemon answers; nil where there are no maps.
    private func status(of instance: InstancePaths) async throws -> DirectorStatus? {
        do {
            return try await ControlClient(socket: instance.controlSocket, timeoutSeconds: 3).status()
        } catch {
            return try Director.storedStatus(instance: instance, dataPlanes: XDPDataPlanes())?.status
        }
    }

    private func packet() throws -> ExplainedPacket {
        let source = try valid(client) { () throws(InvalidValue) in try AddressText.source(client) }
        let service = try valid(vip) { () throws(InvalidValue) in try AddressText.service(vip) }
        guard let port = service.port, let transport = service.transport else {
            throw Failure(.badValue, "\(vip): a packet goes to a port (accepted: A.B.C.D:PORT or A.B.C.D:PORT/tcp|udp)")
        }
        if let segment, transport == .udp {
            throw Failure(.badValue, "--\(segment.rawValue): a packet of UDP has no such flag")
        }
        let lengths = ExplainedPacket.shortest(transport)...65535
        guard lengths.contains(length) else {
            throw Failure(
                .badValue,
                "--length \(length): no length of such a packet (accepted: \(lengths.lowerBound) to \(lengths.upperBound))"
            )
        }
        return ExplainedPacket(
            client: try source.address.asIPv4(), clientPort: source.port, vip: try service.vip.asIPv4(), port: port,
            transport: transport,
            segment: segment.flatMap { ExplainedPacket.Segment(rawValue: $0.rawValue) } ?? .syn, length: length,
            mayBeFragmented: fragmentable)
    }
}

/// The output of `ipvsd explain`: the decision on a packet, and the state of the service's real servers.
struct Explanation: Sendable, Encodable {
    var packet: ExplainedPacket
    var decision: PacketDecision
    /// The service's real servers, also removed ones, in the order of `status`.
    var servers: [DirectorStatus.Server]
    /// The daemon's process id; nil where none runs.
    var pid: Int32?
    var xdp: DirectorStatus.XDP
    /// The name of the interface by which the packet leaves; nil: none, or unknown.
    var egress: String?

    /// Creates an explanation, with the part of the status that is about the packet's service.
    init(of packet: ExplainedPacket, decision: PacketDecision, status: DirectorStatus, egress: String?) {
        self.packet = packet
        self.decision = decision
        self.egress = egress
        pid = status.pid
        xdp = status.xdp
        let listeners = Set(decision.service?.listeners ?? [])
        servers =
            status.services.first { $0.listeners.contains { listeners.contains($0.address) } }?.servers ?? []
    }

    /// Whether the packet program is on no interface, so that no packet reaches it.
    var isDetached: Bool { xdp.interfaces.isEmpty }

    private enum CodingKeys: String, CodingKey {
        case packet, servers, pid, xdp
        case egress = "egressInterface"
    }

    func encode(to encoder: any Encoder) throws {
        try decision.encode(to: encoder)
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(packet, forKey: .packet)
        try container.encode(servers, forKey: .servers)
        try container.encode(pid, forKey: .pid)
        try container.encode(xdp, forKey: .xdp)
        try container.encode(egress, forKey: .egress)
    }

    /// Returns the explanation as JSON with sorted keys.
    func json() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(self))
    }
}
