public import LoadBalancing

/// One check by both ways: clients' way decides, the other one tells which half is broken.
public enum BothWays {
    public static func verdict(tunnel: CheckVerdict, direct: CheckVerdict, server: IPv4Address) -> CheckVerdict {
        switch (tunnel, direct) {
        case (.passed, .passed):
            return tunnel
        case (.failed(let failure), _) where failure.isOwn:
            return tunnel
        case (_, .failed(let beside)) where beside.isOwn:
            return tunnel
        case (.passed(var pass), .failed(let failure)):
            pass.note = "it does not answer at \(server) itself: \(failure.reason)"
            return .passed(pass)
        case (.failed(var failure), .passed):
            if failure.hostAnswered {
                failure.brokenHalf = .service
                failure.reason =
                    "\(failure.reason): the tunnel works, the service is dead on the VIP (but not on \(server))"
            } else {
                failure.brokenHalf = .decapsulation
                failure.reason = """
                    \(failure.reason): service answers, decapsulation dead (tunl0, its VIP or rp_filter on \(server))
                    """
            }
            return .failed(failure)
        case (.failed(var failure), .failed(let beside)):
            if failure.hostAnswered {
                failure.brokenHalf = .service
                failure.reason = "\(failure.reason): the tunnel works, the service does not"
            } else if beside.hostAnswered {
                failure.brokenHalf = .service
                failure.reason =
                    "\(failure.reason); \(server) itself: \(beside.reason): the host is up, its service is not"
            } else {
                failure.brokenHalf = .host
                failure.reason = "\(failure.reason); \(server) itself: \(beside.reason): the host does not answer"
            }
            return .failed(failure)
        }
    }
}

extension ProbeResult {
    /// What of a verdict the rise and fall of a server need; nil where it says nothing about the server.
    public init?(_ verdict: CheckVerdict) {
        switch verdict {
        case .passed: self = .success
        case .failed(let failure) where failure.isOwn: return nil
        case .failed(let failure): self = .failure(failure.reason, hostAnswered: failure.hostAnswered)
        }
    }
}
