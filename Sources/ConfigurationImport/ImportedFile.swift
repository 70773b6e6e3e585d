internal import Addresses
internal import LoadBalancing
internal import ServiceConfiguration

/// The result of an import before it is printed. The file, each service and each real server have remarks of their own.
struct ImportedFile {
    /// The path of the source. Included files have their own paths in `SourcePlace`.
    let name: String
    /// The comments about the whole file.
    var comments: [String] = []
    var remarks: [PlacedRemark] = []
    var timeouts: Timeouts?
    /// The reason for `addresses: false`, as a comment in the file; nil if the director puts the VIPs on interfaces.
    var addressKeeper: String?
    var services: [ImportedService] = []

    /// The remarks of all parts in the source's order, each once.
    var allRemarks: [PlacedRemark] {
        PlacedRemark.joined(remarks + services.flatMap { $0.remarks + $0.servers.flatMap(\.remarks) }).enumerated()
            .sorted { ($0.element.place, $0.offset) < ($1.element.place, $1.offset) }.map(\.element)
    }

    /// Removes a service that cannot be served. Its remarks become the file's, and a remark gives the reason.
    mutating func drop(_ index: Int, _ reason: String) {
        let service = services.remove(at: index)
        remarks += service.remarks + service.servers.flatMap(\.remarks)
        // A remark at the service may have given the reason already.
        guard service.listeners.isEmpty, service.remarks.contains(where: { $0.kind == .left }) else {
            remarks.append(PlacedRemark(.left, service.place, "\(service.title): \(reason)"))
            return
        }
    }
}

/// A virtual service of the source.
struct ImportedService {
    let place: SourcePlace
    /// The service's name in the source.
    let title: String
    var remarks: [PlacedRemark] = []
    var listeners: [ImportedListener] = []
    /// The firewall marks of the service in the source.
    var marks: Set<UInt32> = []
    /// The scheduling. Listeners, scheduler flags and real servers have properties of their own.
    var forwarding = Self.plain
    /// The scheduler flags, in the source's order.
    var flags: [SchedulerFlag] = []
    var servers: [ImportedServer] = []
    var policy = ServicePolicy()
    var checks = ImportedChecks.auto
    var notify: NotificationScript?

    /// A service with default values.
    static let plain = VirtualService(
        address: ServiceAddress(vip: .unspecified(.v4)), scheduler: Options.scheduler.standard ?? .wlc, servers: [])

    init(place: SourcePlace, title: String) {
        self.place = place
        self.title = title
    }

    mutating func remark(_ kind: ImportRemark.Kind, _ place: SourcePlace, _ text: String) {
        remarks.append(PlacedRemark(kind, place, text))
    }

    /// Whether both services serve in the same way, except for their listeners.
    func serves(as other: ImportedService) -> Bool {
        forwarding == other.forwarding && flags == other.flags && policy == other.policy && checks == other.checks
            && notify == other.notify && servers.map(\.server) == other.servers.map(\.server)
    }
}

/// A listener of the source. An any-port service of IPVS takes one protocol, and an any-port service of ipvsd takes
/// both.
struct ImportedListener: Hashable, CustomStringConvertible {
    var vip: IPAddress
    /// The port, or nil for every port.
    var port: UInt16?
    /// The protocol. Nil means both protocols, which only any-port services take.
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

/// Parts of remarks about a service.
extension ImportedService {
    /// The command that sets up the tunnel on real servers. It names at most three VIPs.
    var setUpCommand: String {
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

    /// Returns in words the port at which the service's real servers have to listen, in place of `port`. Returns nil if
    /// they stay at `port`, or if `port` is nil.
    func newPort(insteadOf port: UInt16?) -> String? {
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

/// A check as the configuration file has it. Two real servers have the same check if all values are equal.
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

    /// The reason why the configuration file's parser refuses the check, or nil if it does not.
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
