public import Addresses
public import BPF
public import LoadBalancing
internal import PacketPrograms

/// Ports of any-port services: what clients use, and what has answered checks.
extension XDPDataPlane {
    /// Ports of any-port services on which clients' handshakes completed, the most recent first.
    public func learntPorts() throws(BPFError) -> [ServiceAddress: [UInt16]] {
        var ports: [ServiceAddress: [(port: UInt16, time: UInt64)]] = [:]
        for key in try maps.learntPorts.keys() {
            guard let address = primaryAddresses[Int(key.id)], let time = try maps.learntPorts.value(for: key) else {
                continue
            }
            ports[address, default: []].append((UInt16(bigEndian: key.port), time))
        }
        return ports.mapValues { $0.sorted { $0.time > $1.time }.map(\.port) }
    }

    /// Forgets ports that nobody answers, until a client's handshake completes there again.
    public func forgetLearntPorts(_ ports: Set<UInt16>, of service: ServiceAddress) throws(BPFError) {
        guard let index = services[service] else { return }
        for port in ports {
            try maps.learntPorts.remove(ipvsd_port(id: UInt32(index), port: port.bigEndian, reserved: 0))
        }
    }

    /// The ports that have answered checks on a service's real servers; kept for the next daemon.
    public func answeredPorts(of service: ServiceAddress) throws(BPFError) -> [IPv4Address: Set<UInt16>] {
        var ports: [IPv4Address: Set<UInt16>] = [:]
        for key in try maps.answeredPorts.keys() where Int(key.id) < maps.servers.count {
            let row = maps.servers[Int(key.id)]
            guard let index = services[service], Int(row.service) == index, row.flags & UInt16(IPVSD_SERVER_USED) != 0
            else { continue }
            ports[IPv4Address(bigEndian: row.address), default: []].insert(UInt16(bigEndian: key.port))
        }
        return ports
    }

    public func setAnsweredPorts(_ ports: Set<UInt16>, of server: UInt32) throws(BPFError) {
        for key in try maps.answeredPorts.keys() where key.id == server && !ports.contains(UInt16(bigEndian: key.port))
        {
            try maps.answeredPorts.remove(key)
        }
        for port in ports {
            try maps.answeredPorts.update(1, for: ipvsd_port(id: server, port: port.bigEndian, reserved: 0))
        }
    }
}
