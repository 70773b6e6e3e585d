internal import Addresses
internal import LoadBalancing

/// What a script is told; the names are documented at `ScriptCheck`.
enum ScriptEnvironment {
    static func variables(_ check: ScriptCheck, by way: Check.Way, timeout: Duration) -> [String: String] {
        var variables = [
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "IPVSD_ADDRESS": way.destination.description,
            "IPVSD_TIMEOUT": String(timeout.seconds.dropLast(2)),
        ]
        switch way {
        case .tunnel(_, let mark, let device, let source):
            variables["IPVSD_VIA"] = "tunnel"
            variables["IPVSD_MARK"] = "\(mark)"
            variables["IPVSD_DEVICE"] = "\(device)"
            variables["IPVSD_SOURCE"] = source.description
        case .direct:
            variables["IPVSD_VIA"] = "direct"
        }
        return variables.merging(check.environment) { $1 }
    }
}
