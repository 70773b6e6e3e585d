internal import Addresses

/// The rows of the real servers, found by service and by address: either may have thousands.
struct ServerIDs {
    private var byService: [Int: [IPv4Address: Int]] = [:]
    private var byAddress: [IPv4Address: Set<Int>] = [:]

    subscript(service: Int, address: IPv4Address) -> Int? {
        get { byService[service]?[address] }
        set {
            if let old = byService[service]?[address] {
                byAddress[address]?.remove(old)
                if byAddress[address]?.isEmpty == true { byAddress[address] = nil }
            }
            byService[service, default: [:]][address] = newValue
            if byService[service]?.isEmpty == true { byService[service] = nil }
            if let newValue { byAddress[address, default: []].insert(newValue) }
        }
    }

    func ofService(_ service: Int) -> [IPv4Address: Int] { byService[service] ?? [:] }

    func ofAddress(_ address: IPv4Address) -> Set<Int> { byAddress[address] ?? [] }

    var services: Set<Int> { Set(byService.keys) }
    var addresses: Set<IPv4Address> { Set(byAddress.keys) }

    var all: [(service: Int, address: IPv4Address, id: Int)] {
        byService.flatMap { service, ids in ids.map { (service, $0, $1) } }
    }
}
