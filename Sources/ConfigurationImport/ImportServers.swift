internal import Addresses
internal import LoadBalancing
internal import ServiceConfiguration

/// What is said of a real server, in the words of IPVS.
enum ImportServers {
    static func take(weight: Int, _ server: inout ImportedServer) {
        server.server.weight = UInt16(clamping: weight)
        if weight > 65_535 {
            server.remark(.changed, "weight \(weight) becomes 65535, the greatest: make all of the service smaller")
        }
    }

    /// 0 is none.
    static func take(upper: Int, lower: Int, _ server: inout ImportedServer) {
        let greatest = AddressText.thresholds.upperBound
        guard upper > 0 else {
            if lower > 0 { server.remark(.note, "lower threshold \(lower): it does nothing without an upper one") }
            return
        }
        if upper > greatest {
            server.remark(.note, "upper threshold \(upper) becomes \(greatest), which is as good as none")
        }
        let bound = min(upper, greatest)
        if lower > upper {
            server.remark(
                .changed, "lower threshold \(lower): it is above the upper one, \(upper), which stands for it")
        }
        server.server.thresholds = ConnectionThresholds(
            upper: UInt32(bound), lower: lower == 0 ? nil : UInt32(min(lower, bound)))
    }

    // MARK: Other ways than ipvsd's

    /// Where the way is said: of one real server, or of all that a service has.
    struct Way {
        let title: String
        let place: SourcePlace
        let isServers: Bool

        func on(_ server: ImportedServer) -> String {
            isServers ? server.server.address.description : "its real servers"
        }
    }

    /// The real server has the VIP already, and answers by itself: it lacks a tunnel only.
    static func leaveGatewaying(_ way: Way, _ service: ImportedService, _ server: inout ImportedServer) {
        let text =
            "\(way.title) (direct routing) becomes the IPIP tunnel: run \(service.setUp) on \(way.on(server)), which may "
            + "then stand behind routers, too"
        server.remarks.append(
            PlacedRemark(.changed, way.place, text, brief: "was routed to directly: needs realserver-setup"))
    }

    static func leaveMasquerading(
        _ way: Way, port: UInt16?, _ service: ImportedService, _ server: inout ImportedServer
    ) {
        let other = service.portInstead(of: port)
        let listening =
            other.map { "listen at \($0), where it was port \(port ?? 0)," }
            ?? "take connections to the VIP, or to any address,"
        let text =
            "\(way.title) (masquerading) becomes the IPIP tunnel: run \(service.setUp) on \(way.on(server)); the service "
            + "there has to \(listening) and its answers go to clients directly, no longer by the director"
        let ports = other.map { " at port \(port ?? 0), not \($0)" } ?? ""
        server.remarks.append(
            PlacedRemark(.changed, way.place, text, brief: "was masqueraded\(ports): needs realserver-setup"))
    }

    static func leaveTunnel(type: String, _ way: Way, _ service: ImportedService, _ server: inout ImportedServer) {
        let text =
            "\(way.title): ipvsd's tunnel is IPIP: run \(service.setUp) on \(way.on(server)), which has to take protocol 4 "
            + "instead of \(type.uppercased())"
        server.remarks.append(
            PlacedRemark(
                .changed, way.place, text, brief: "had a tunnel of \(type.uppercased()): needs realserver-setup"))
    }
}
