internal import LoadBalancing

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
        if upper > greatest { server.remark(.note, "upper threshold \(upper) becomes \(greatest), which is as good as none") }
        let bound = min(upper, greatest)
        if lower > upper {
            server.remark(.changed, "lower threshold \(lower): it is above the upper one, \(upper), which stands for it")
        }
        server.server.thresholds = ConnectionThresholds(
            upper: UInt32(bound), lower: lower == 0 ? nil : UInt32(min(lower, bound)))
    }

    // MARK: Other ways than ipvsd's

    private static func setUp(_ service: ImportedService) -> String {
        "'ipvsd realserver-setup --vip \(service.listeners.isEmpty ? "VIP" : service.vips)'"
    }

    /// The real server has the VIP already, and answers by itself: it lacks a tunnel only.
    static func leaveGatewaying(_ way: String, _ service: ImportedService, _ server: inout ImportedServer) {
        server.remark(
            .changed,
            "\(way) (direct routing) becomes the IPIP tunnel: run \(setUp(service)) on \(server.server.address), which "
                + "may then stand behind routers, too")
    }

    static func leaveMasquerading(
        _ way: String, port: UInt16?, _ service: ImportedService, _ server: inout ImportedServer
    ) {
        let own = service.listeners.first?.port
        let ports =
            if let port, let own, port != own {
                "has to listen at port \(own), where it had \(port)"
            } else {
                "has to take connections to the VIP, or to any address"
            }
        server.remark(
            .changed,
            "\(way) (masquerading) becomes the IPIP tunnel: run \(setUp(service)) on \(server.server.address); its "
                + "service \(ports), and its answers go to clients directly, no longer by the director")
    }

    static func leaveTunnel(_ way: String, type: String, _ service: ImportedService, _ server: inout ImportedServer) {
        server.remark(
            .changed,
            "\(way): ipvsd's tunnel is IPIP: run \(setUp(service)) on \(server.server.address), which has to take "
                + "protocol 4 instead of \(type.uppercased())")
    }
}
