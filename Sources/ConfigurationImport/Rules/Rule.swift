/// One of ipvsadm's commands, as `ipvsadm -S` prints and `ipvsadm -R` takes them, before anything is known of its values.
struct Rule {
    enum Command: String, CaseIterable {
        case addService = "A"
        case editService = "E"
        case deleteService = "D"
        case clear = "C"
        case addServer = "a"
        case editServer = "e"
        case deleteServer = "d"
        case zero = "Z"
        case setTimeouts = "set"
        case startDaemon = "start-daemon"
        case stopDaemon = "stop-daemon"
    }

    enum Service: Hashable {
        /// `A.B.C.D`, `A.B.C.D:PORT`, or with names.
        case tcp(String)
        case udp(String)
        case sctp(String)
        case mark(String)
    }

    enum Forwarding: String {
        case gatewaying = "-g"
        case tunnel = "-i"
        case masquerading = "-m"
    }

    let place: SourcePlace
    let command: Command
    /// Of --start-daemon and --stop-daemon; three numbers of --set.
    var arguments: [String] = []
    var service: Service?
    var isIPv6 = false
    var scheduler: String?
    /// Empty: without a time-out.
    var persistence: String?
    var netmask: String?
    var engine: String?
    var flags: String?
    var isOnePacket = false
    var server: String?
    /// ipvsadm's default.
    var forwarding = Forwarding.gatewaying
    var saysForwarding = false
    var tunnel: String?
    var weight: String?
    var upper: String?
    var lower: String?
}
