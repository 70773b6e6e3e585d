internal import Addresses
internal import LoadBalancing
internal import ServiceConfiguration

/// How connections are spread: IPVS's words for it, whoever wrote them.
enum ImportScheduling {
    static func take(scheduler name: String, at place: SourcePlace, _ service: inout ImportedService) {
        if let scheduler = Scheduler(rawValue: name) {
            service.forwarding.scheduler = scheduler
        } else {
            service.remark(
                .changed, place, "scheduler \(name): ipvsd has none of this name; wlc, the default, stands for it")
        }
    }

    /// After the scheduler is known: `flag-1` and so on are its own (IP_VS_SVC_F_SCHED1).
    static func take(flags words: [String], at place: SourcePlace, _ service: inout ImportedService) {
        let scheduler = service.forwarding.scheduler
        for word in words {
            let flag: SchedulerFlag? =
                switch (scheduler, word) {
                case (.sh, "flag-1"): .shFallback
                case (.sh, "flag-2"): .shPort
                case (.mh, "flag-1"): .mhFallback
                case (.mh, "flag-2"): .mhPort
                default: SchedulerFlag(rawValue: word)
                }
            if let flag, flag.scheduler == scheduler {
                if !service.flags.contains(flag) { service.flags.append(flag) }
            } else if flag != nil || ["flag-1", "flag-2", "flag-3", "hashed"].contains(word) {
                service.remark(
                    .note, place, "\(word): it does nothing with the scheduler \(scheduler.rawValue)")
            } else {
                service.remark(.left, place, "scheduler flag \(word): ipvsd has none of this name")
            }
        }
    }

    /// Only UDP is scheduled so.
    static func takeOnePacket(at place: SourcePlace, _ service: inout ImportedService) {
        if service.listeners.contains(where: { $0.transport != .tcp }) || service.listeners.isEmpty {
            service.forwarding.isOnePacket = !service.listeners.isEmpty
        } else {
            service.remark(.note, place, "one-packet scheduling: it does nothing for TCP")
        }
    }

    static func take(
        persistence seconds: Int, netmask: String?, at place: SourcePlace, _ service: inout ImportedService
    ) {
        let longest = Persistence.timeouts.upperBound
        guard seconds > 0 else {
            service.remark(.note, place, "a persistence of 0 s is none")
            return
        }
        if seconds > longest {
            service.remark(
                .changed, place, "a persistence of \(seconds) s becomes \(longest) s (2 h 26 min), the longest")
        }
        var length = 32
        if let netmask {
            if let found = try? AddressText.prefixLength(netmask) {
                length = found
            } else {
                service.remark(
                    .left, place,
                    "netmask \(netmask) of the persistence: ipvsd takes 1 to 32 leading bits; each "
                        + "client's address stands for itself")
            }
        }
        service.forwarding.persistence = Persistence(timeout: min(seconds, longest), prefixLength: length)
    }

    static func leave(engine: String, at place: SourcePlace, _ service: inout ImportedService) {
        service.remark(
            .left, place,
            "persistence engine \(engine): ipvsd knows clients by their addresses, and does not look into "
                + "packets")
    }
}
