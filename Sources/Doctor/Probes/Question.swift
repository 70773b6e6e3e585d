internal import CLinux
import Glibc
import HostState
import LoadBalancing
import Netlink
import SystemCalls

/// What is really asked of the network.
struct Question {
    let timeoutMilliseconds: Int32

    private static let mostAnswers = 16

    /// Who on the link answers for the address, other than the interface itself. Nobody's neighbour table changes.
    func owners(of address: IPv4Address, on link: Link) throws(SystemError) -> [MACAddress] {
        guard let own = link.address else { return [] }
        var answers = [UInt8](repeating: 0, count: 6 * Self.mostAnswers)
        let count = clinux_ask_arp(
            link.index, own.bytes, 0, address.bigEndian, timeoutMilliseconds, &answers, Int32(Self.mostAnswers))
        if count < 0 { throw SystemError("ask by ARP for \(address) on \(link.name)", code: errno) }
        return (0..<Int(count)).compactMap { MACAddress(Array(answers[6 * $0..<6 * $0 + 6])) }
    }

    /// Whether an ICMP echo request of that size comes back, unfragmented.
    func isEchoed(by address: IPv4Address, size: Int) throws(SystemError) -> Bool {
        let result = clinux_ask_echo(address.bigEndian, Int32(size), timeoutMilliseconds)
        if result < 0 { throw SystemError("send an echo request of \(size) bytes to \(address)", code: errno) }
        return result == 1
    }
}
