internal import LoadBalancing

/// Services, and the real servers behind them.
extension DirectorFlags {
    func services(_ findings: inout Findings) -> [ServiceAddress] {
        var addresses: [ServiceAddress] = []
        for item in items(of: vips, flag: "--vip", accepted: AddressText.services, &findings) {
            let place = Self.place("--vip", item)
            let address = findings.attempt(place) { () throws(InvalidValue) in try AddressText.service(item) }
            guard let address else { continue }
            guard !addresses.contains(address) else {
                findings.add(place, "\(address) is given twice", accepted: "each service once")
                continue
            }
            addresses.append(address)
        }
        return addresses
    }

    func servers(apartFrom vips: Set<IPv4Address>, _ findings: inout Findings) -> [RealServer] {
        let defaults = thresholds(&findings)
        var servers: [RealServer] = []
        var seen: Set<IPv4Address> = []
        for item in items(of: backends, flag: "--backends", accepted: AddressText.servers, &findings) {
            let place = Self.place("--backends", item)
            let server = findings.attempt(place) { () throws(InvalidValue) in
                try AddressText.server(item, defaults: defaults)
            }
            guard let server else { continue }
            if vips.contains(server.address) {
                findings.add(place, "\(server.address) is a VIP", accepted: "the real servers' own addresses")
            }
            if seen.insert(server.address).inserted {
                servers.append(server)
            } else {
                findings.add(place, "\(server.address) is given twice", accepted: "each real server once")
            }
        }
        return servers
    }

    private func thresholds(_ findings: inout Findings) -> ConnectionThresholds? {
        guard let upperThreshold else {
            if let lowerThreshold {
                findings.add(
                    Self.place("--l-threshold", lowerThreshold), "there is no upper threshold",
                    accepted: "with --u-threshold only")
            }
            return nil
        }
        let flags = [("--u-threshold", upperThreshold)] + (lowerThreshold.map { [("--l-threshold", $0)] } ?? [])
        let place = flags.map { Self.place($0, $1) }.joined(separator: " ")
        let thresholds = findings.attempt(place) { () throws(InvalidValue) in
            try AddressText.thresholds(upper: upperThreshold, lower: lowerThreshold)
        }
        return thresholds ?? nil
    }

    func flags(of scheduler: Scheduler?, _ findings: inout Findings) -> Set<SchedulerFlag> {
        guard !schedulerFlags.isEmpty else { return [] }
        let accepted = AddressText.choices(of: SchedulerFlag.self)
        var flags: Set<SchedulerFlag> = []
        for item in items(of: schedulerFlags, flag: "--sched-flags", accepted: accepted, &findings) {
            let place = Self.place("--sched-flags", item)
            guard let flag = SchedulerFlag(rawValue: String(item)) else {
                findings.add(place, "unknown scheduler flag", accepted: accepted)
                continue
            }
            if let scheduler, flag.scheduler != scheduler {
                findings.add(
                    place, "the scheduler is \(scheduler.rawValue)", accepted: "with \(flag.scheduler.rawValue) only")
            }
            flags.insert(flag)
        }
        return flags
    }

    func persistence(_ findings: inout Findings) -> Persistence? {
        let timeout = seconds(persistent, flag: "--persistent", in: Persistence.timeouts, &findings)
        guard persistentNetmask != nil else { return timeout.map { Persistence(timeout: $0) } }
        let length = value(persistentNetmask, flag: "--persistent-netmask", &findings, AddressText.prefixLength)
        if persistent == nil {
            findings.add("--persistent-netmask", "the service is not persistent", accepted: "with --persistent")
        }
        guard let timeout, let length else { return nil }
        return Persistence(timeout: timeout, prefixLength: length)
    }
}
