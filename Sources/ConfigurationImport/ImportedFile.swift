internal import Addresses
internal import LoadBalancing
internal import ServiceConfiguration

/// What an import makes of its source, before it is text. Every remark stands where it belongs.
struct ImportedFile {
    /// The source's own name, without those of files that it includes.
    let name: String
    /// Said once for the whole file.
    var comments: [String] = []
    var remarks: [PlacedRemark] = []
    var timeouts: Timeouts?
    /// Why ipvsd is not to put the VIPs on the director; nil: it is.
    var addressKeeper: String?
    var services: [ImportedService] = []

    /// In the source's order, each once.
    var allRemarks: [PlacedRemark] {
        PlacedRemark.joined(remarks + services.flatMap { $0.remarks + $0.servers.flatMap(\.remarks) }).enumerated()
            .sorted { ($0.element.place, $0.offset) < ($1.element.place, $1.offset) }.map(\.element)
    }

    /// A service that cannot be served: what was said of it is still told.
    mutating func drop(_ index: Int, _ reason: String) {
        let service = services.remove(at: index)
        remarks += service.remarks + service.servers.flatMap(\.remarks)
        // Where it has been said of the service already, it need not be said again.
        guard service.listeners.isEmpty, service.remarks.contains(where: { $0.kind == .left }) else {
            remarks.append(PlacedRemark(.left, service.place, "\(service.title): \(reason)"))
            return
        }
    }
}

/// One of the source's virtual services.
struct ImportedService {
    let place: SourcePlace
    /// As the source calls it.
    let title: String
    var remarks: [PlacedRemark] = []
    var listeners: [ImportedListener] = []
    /// That it is known by in the source.
    var marks: Set<UInt32> = []
    /// The scheduling. Listeners, scheduler flags and real servers are beside it.
    var forwarding = Self.plain
    /// The scheduler flags, in the source's order.
    var flags: [SchedulerFlag] = []
    var servers: [ImportedServer] = []
    var policy = ServicePolicy()
    var checks = ImportedChecks.auto
    var notify: NotificationScript?

    /// The values of a service of which nothing is said.
    static let plain = VirtualService(
        address: ServiceAddress(vip: .unspecified(.v4)), scheduler: Options.scheduler.standard ?? .wlc, servers: [])

    init(place: SourcePlace, title: String) {
        self.place = place
        self.title = title
    }

    mutating func remark(_ kind: ImportRemark.Kind, _ place: SourcePlace, _ text: String) {
        remarks.append(PlacedRemark(kind, place, text))
    }

    /// Whether it is the same but for its listeners.
    func serves(as other: ImportedService) -> Bool {
        forwarding == other.forwarding && flags == other.flags && policy == other.policy && checks == other.checks
            && notify == other.notify && servers.map(\.server) == other.servers.map(\.server)
    }
}

/// What clients address: IPVS knows services with all ports of one protocol, ipvsd only of both.
struct ImportedListener: Hashable, CustomStringConvertible {
    var vip: IPAddress
    /// Nil: every port.
    var port: UInt16?
    /// Nil: of an any-port service, both.
    var transport: TransportProtocol?

    init(vip: IPAddress, port: UInt16?, transport: TransportProtocol?) {
        self.vip = vip
        self.port = port == 0 ? nil : port
        self.transport = transport
    }

    init(_ address: ServiceAddress) { self.init(vip: address.vip, port: address.port, transport: address.transport) }

    var description: String {
        let port = port.map { ":\($0)" } ?? ""
        return "\(vip)\(port)" + (port.isEmpty ? "" : transport.map { "/\($0.rawValue)" } ?? "")
    }
}

struct ImportedServer {
    let place: SourcePlace
    var server: RealServer
    var remarks: [PlacedRemark] = []

    mutating func remark(_ kind: ImportRemark.Kind, _ text: String) {
        remarks.append(PlacedRemark(kind, place, text))
    }
}

/// Words of remarks.
extension ImportedService {
    /// The command that gives real servers their tunnel.
    var setUp: String {
        var vips: [String] = []
        for listener in listeners where !vips.contains(listener.vip.description) {
            vips.append(listener.vip.description)
            if vips.count > 3 {
                vips[3] = "…"
                break
            }
        }
        return "'ipvsd realserver-setup --vip \(vips.isEmpty ? "VIP" : vips.joined(separator: ","))'"
    }

    /// Where its real servers have to listen, other than at this port; nil: there.
    func portInstead(of port: UInt16?) -> String? {
        let ports = Set(listeners.map(\.port))
        guard let port, let first = ports.first, ports != [port] else { return nil }
        guard ports.count == 1 else { return "the VIPs' ports" }
        return first.map { "port \($0)" } ?? "the ports that clients ask for"
    }
}

enum ImportedChecks: Equatable {
    case auto
    case none
    case listed([ImportedCheck])
}

/// A check as the file has it; two real servers have the same where these are equal.
struct ImportedCheck: Hashable {
    struct Field: Hashable {
        var key: String
        var value: YAMLText.Value

        init(_ option: any DeclaredOption, _ value: YAMLText.Value) {
            key = option.keyName
            self.value = value
        }
    }

    var type: CheckType
    var fields: [Field]
    var isDirect: Bool
    var pace: CheckPace

    /// What the configuration file's parser has against it.
    var problem: String? {
        let text = ImportPrinter.text(self, withPace: true)
        do {
            _ = try ConfigurationFile.parse(
                """
                \(Options.serviceList.keyName):
                - \(Options.listeners.keyName): 192.0.2.1:9
                  \(Options.servers.keyName): 192.0.2.2
                  \(Options.checkList.keyName): [\(text)]
                """, file: "")
            return nil
        } catch { return error.errors.first.map { "\($0.problem) (accepted: \($0.accepted))" } }
    }
}
