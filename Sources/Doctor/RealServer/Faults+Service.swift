import Addresses

/// Whether anybody listens where clients' packets arrive.
extension RealServerFacts {
    func serviceFindings() -> [Finding] {
        vips.compactMap { vip in
            let candidates = sockets.filter { port == nil || $0.port == port }
            if candidates.contains(where: { $0.address == nil || $0.address == vip }) { return nil }
            // Whatever it goes to may be on another host.
            if translation(to: vip, port: port) != nil { return nil }
            let elsewhere = Set(candidates.filter { $0.address?.isLoopback != true }.map(\.description)).sorted()
            let what = port.map { "port \($0)" } ?? "any port"
            return Finding(
                .serviceNotBound,
                "nothing listens at \(what) of \(vip) or of the wildcard address"
                    + (elsewhere.isEmpty ? "" : ", only at \(elsewhere.prefix(8).joined(separator: ", "))"),
                fix: "have the service listen on \(vip)\(port.map { ":\($0)" } ?? "") or on 0.0.0.0")
        }
    }
}
