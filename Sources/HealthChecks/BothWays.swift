internal import Addresses

/// One check by both ways: clients' way decides, the other one tells which half is broken.
enum BothWays {
    static func verdict(tunnel: CheckVerdict, direct: CheckVerdict, server: IPAddress) -> CheckVerdict {
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
            failure.reason +=
                failure.hostAnswered
                ? ": the tunnel works, the service is dead on the VIP (but not on \(server))"
                : ": service answers, decapsulation dead (tunl0, its VIP or rp_filter on \(server))"
            return .failed(failure)
        case (.failed(var failure), .failed(let beside)):
            if failure.hostAnswered {
                failure.reason += ": the tunnel works, the service does not"
            } else {
                // A service may listen on the VIP alone: that its host refuses says nothing of the service.
                let host =
                    beside.hostAnswered
                    ? "the host is up, the tunnel or the service is not" : "the host does not answer"
                failure.reason += "; \(server) itself: \(beside.reason): \(host)"
            }
            return .failed(failure)
        }
    }
}
