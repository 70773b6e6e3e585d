public import LoadBalancing

/// Tells from a check through the tunnel and one beside it which half is broken.
public enum Diagnosis {
    /// The tunnel's result, its reason made complete. `direct` is the same question to the server's own address; nil
    /// where it was not asked.
    public static func result(tunnel: ProbeResult, direct: ProbeResult?, server: IPv4Address) -> ProbeResult {
        guard case .failure(let reason, let hostAnswered) = tunnel else { return .success }
        if hostAnswered {
            return .failure("\(reason): the tunnel works, the service does not", hostAnswered: true)
        }
        switch direct {
        case nil: return tunnel
        case .success:
            return .failure(
                "\(reason), but \(server) itself answers: the tunnel is the broken half "
                    + "(tunl0, its VIP or rp_filter on the real server)")
        case .failure(let reasonBeside, let answeredBeside):
            let host = answeredBeside ? "the host is up, the tunnel or the service is not" : "the host does not answer"
            return .failure("\(reason); \(reasonBeside): \(host)")
        }
    }
}
