public import Addresses
import HostState
import Netlink
public import RealServerSetup
import SystemCalls

/// The examination of a real server, which gathers the facts for its diagnosis. It reads the machine's state and sends
/// probes, and changes nothing.
public struct RealServerExaminer {
    public var vips: [IPAddress]
    /// All VIPs of realserver-setup, see `RealServerSetup.knownVIPs`.
    public var ownVIPs: [IPAddress] = []
    /// The interfaces that realserver-setup was given for tunnelled packets. Empty: all.
    public var interfaces: [String] = []
    public var director: IPAddress?
    public var outerSources: IPPrefix?
    public var port: UInt16?
    public var mss: MSSPolicy
    public var timeoutMilliseconds: Int32

    public init(
        vips: [IPAddress], director: IPAddress? = nil, outerSources: IPPrefix? = nil, port: UInt16? = nil,
        mss: MSSPolicy = .auto, timeoutMilliseconds: Int32 = 600
    ) {
        self.vips = vips
        self.director = director
        self.outerSources = outerSources
        self.port = port
        self.mss = mss
        self.timeoutMilliseconds = timeoutMilliseconds
    }

    /// Returns the addresses of tunl0, which are VIPs or other programs' addresses.
    public static func addressesOfTunnel() throws -> [IPAddress] {
        let socket = try RouteSocket()
        guard let tunnel = try socket.link(named: RealServerSetup.deviceName) else { return [] }
        return try socket.addresses().filter { $0.interface == tunnel.index }.map(\.address)
    }

    public func examine() throws -> Report {
        let unchecked = Unchecked()
        let facts = try gather(unchecked)
        return Report(side: .realServer, findings: facts.findings(), unchecked: unchecked.reasons)
    }

    private func gather(_ unchecked: Unchecked) throws -> RealServerFacts {
        let socket = try RouteSocket()
        var facts = RealServerFacts()
        facts.vips = vips
        facts.ownVIPs = ownVIPs
        facts.ingress = Set(interfaces)
        facts.director = director
        facts.outerSources = outerSources
        facts.port = port
        facts.wantsMSS = mss != .off
        facts.links = try socket.links().filter { !RealServerSetup.directorDevices.contains($0.name) }
        facts.addresses = try socket.addresses()
        facts.routes = try socket.routes()
        facts.rules = try socket.rules()
        let hasSeenRules: Void? = unchecked.examine("the rules that lower the MSS") {
            facts.segmentRules = try SegmentRules.present()
        }
        if hasSeenRules == nil { facts.wantsMSS = false }
        facts.tunnels = try socket.tunnels()
        facts.hasModule = KernelModule.isAvailable("ipip")
        for link in facts.lan {
            let handles = unchecked.examine("the programs that lower the MSS on \(link.name)") {
                try socket.filters(interface: link.index, ingress: false).map(\.handle)
            }
            // If the filters cannot be read, the programs count as present.
            facts.segmentPrograms[link.name] = handles.map { Set($0.map { .v4(IPv4Address($0)) }) } ?? Set(vips)
        }
        if let tunnel = facts.tunnel {
            for link in facts.lan {
                do {
                    let filters = try socket.filters(interface: link.index, ingress: true)
                    let isThere = filters.contains {
                        $0.priority == RealServerSetup.filterPriority && $0.handle == UInt32(bitPattern: tunnel.index)
                    }
                    if isThere { facts.programs.insert(link.name) }
                } catch {
                    unchecked.add("the tc programs on \(link.name): \(error)")
                    facts.programs.insert(link.name)
                }
            }
        }
        for interface in ["all", RealServerSetup.deviceName] + facts.lan.map(\.name) + facts.tunnels.map(\.name) {
            for name in ["rp_filter", "arp_ignore", "arp_announce", "forwarding"] {
                let key = "net/ipv4/conf/\(interface)/\(name)"
                guard Sysctl.exists(key) else { continue }
                unchecked.examine("sysctl \(key)") { facts.sysctls["\(interface)/\(name)"] = Int(try Sysctl.read(key)) }
            }
        }
        let ignoring = "net/ipv4/icmp_echo_ignore_all"
        if Sysctl.exists(ignoring) {
            unchecked.examine("sysctl \(ignoring)") { facts.ignoresEcho = try Sysctl.read(ignoring) != "0" }
        }
        facts.firewalls = Firewall.present(unchecked)
        facts.sockets = listeningSockets()
        facts.networkd = Networkd.present()
        probe(socket, &facts, unchecked)
        if facts.usesStandIn, !interfaces.isEmpty {
            let leftOut = facts.lan.map(\.name).filter { !facts.programs.contains($0) && !interfaces.contains($0) }
            for name in leftOut {
                unchecked.add(
                    "\(name): realserver-setup left it out, so that tunnelled packets that come in there are not decapsulated"
                )
            }
        }
        return facts
    }

    private func listeningSockets() -> [ListeningSocket] {
        [("tcp", false), ("tcp6", false), ("udp", true), ("udp6", true)].flatMap { name, isUDP in
            let bytes = (try? File.read("/proc/thread-self/net/\(name)")) ?? []
            return ListeningSocket.parse(String(decoding: bytes, as: UTF8.self), isUDP: isUDP)
        }
    }

    private func probe(_ socket: RouteSocket, _ facts: inout RealServerFacts, _ unchecked: Unchecked) {
        let probes = Probes(timeoutMilliseconds: timeoutMilliseconds)
        for vip in vips {
            guard let link = facts.interface(toward: vip) else { continue }
            unchecked.examine("the answers to ARP for \(vip) on \(link.name)") {
                facts.vipOwners.append(
                    .init(vip: vip, interface: link.name, macs: try probes.owners(of: vip, on: link)))
            }
        }
        if let outerSources {
            let hasSeenWay: Void? = unchecked.examine("the route to \(outerSources.address)") {
                facts.wayToOuterSources = try socket.route(to: outerSources.address)
            }
            if hasSeenWay == nil { facts.unseenWays.insert(outerSources.address) }
        }
        guard let director else { return }
        let hasSeenWay: Void? = unchecked.examine("the route to the director \(director)") {
            facts.wayToDirector = try socket.route(to: director)
        }
        if hasSeenWay == nil { facts.unseenWays.insert(director) }
        guard let way = facts.wayToDirector, !way.isLocal else { return }
        var hasSeenAll = true
        if let link = facts.interface(toward: director) {
            let macs = unchecked.examine("the answers to ARP for \(director) on \(link.name)") {
                try probes.owners(of: director, on: link)
            }
            facts.directorMACs = Set(macs ?? [])
            hasSeenAll = macs != nil
            if facts.mayHaveActiveDirector {
                unchecked.examine("the senders of IPIP on \(link.name)") {
                    facts.tunnellers = Set(try probes.tunnellers(on: link))
                }
            }
        }
        let isEchoed = (try? probes.isEchoed(by: director, size: 84)) ?? false
        facts.directorAnswers = isEchoed || !facts.directorMACs.isEmpty ? true : hasSeenAll ? false : nil
        guard isEchoed else {
            if facts.directorAnswers == true {
                unchecked.add("the path's MTU: \(director) does not answer ICMP echo")
            }
            return
        }
        let size = Int(way.mtu ?? facts.links.first { $0.index == way.interface }?.mtu ?? 1500)
        facts.pathMTU = (size, (try? probes.isEchoed(by: director, size: size)) ?? false)
    }
}

extension Networkd {
    private static let directories = ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"]

    /// Returns the configuration of this host. Of files with the same name, the file in the first directory counts.
    static func present() -> Networkd {
        Networkd(
            isRunning: File.exists("/run/systemd/netif/state"), networks: files("network", suffix: ".network"))
    }

    private static func files(
        _ directory: String, suffix: String
    ) -> [(path: String, text: String)] {
        var paths: [String: String] = [:]
        for root in directories.reversed() {
            let place = "\(root)/\(directory)"
            for file in File.list(place) ?? [] where file.hasSuffix(suffix) {
                if File.exists("\(place)/\(file)") { paths[file] = "\(place)/\(file)" }
            }
        }
        return paths.sorted { $0.key < $1.key }.compactMap { _, path in
            (try? File.read(path)).map { (path, String(decoding: $0, as: UTF8.self)) }
        }
    }
}
