internal import Addresses
internal import CLinux
import Glibc
import HostState
import Netlink
import SystemCalls

/// The probes that the doctor sends.
struct Probes {
    let timeoutMilliseconds: Int32

    private static let mostAnswers = 16

    /// Returns the MAC addresses that answer ARP for the address on the link, except for the link's own address. Empty
    /// for IPv6. The probe changes no neighbour table.
    func owners(of address: IPAddress, on link: Link) throws(SystemError) -> [MACAddress] {
        guard let own = link.address, let address = address.v4 else { return [] }
        let owners = Self.addresses { answers in
            clinux_ask_arp(
                link.index, own.bytes, 0, address.bigEndian, timeoutMilliseconds, answers, Int32(Self.mostAnswers))
        }
        guard let owners else { throw SystemError("send an ARP request for \(address) on \(link.name)", code: errno) }
        return owners
    }

    /// The duration of a watch. It is longer than the default interval of a director's checks, which come through the
    /// tunnel.
    private static let watchMilliseconds: Int32 = 1300

    /// Returns the MAC addresses of the hosts that send IPIP to this one during a watch.
    func tunnellers(on link: Link) throws(SystemError) -> [MACAddress] {
        let found = Self.addresses { macs in
            clinux_watch_tunnels(link.index, Self.watchMilliseconds, macs, Int32(Self.mostAnswers))
        }
        guard let found else { throw SystemError("watch for IPIP on \(link.name)", code: errno) }
        return found
    }

    /// Returns the MAC addresses that `call` writes, six bytes each. `call` returns their number, or -1. Nil: the call
    /// fails.
    private static func addresses(_ call: (UnsafeMutablePointer<UInt8>) -> Int32) -> [MACAddress]? {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 6 * mostAnswers) { buffer in
            guard let base = buffer.baseAddress else { return nil }
            let count = call(base)
            guard count >= 0 else { return nil }
            return (0..<Int(count)).compactMap { MACAddress(Array(buffer[6 * $0..<6 * $0 + 6])) }
        }
    }

    /// Whether the address answers an ICMP echo request of `size` bytes, IP header included, that must not be
    /// fragmented.
    func isEchoed(by address: IPAddress, size: Int) throws(SystemError) -> Bool {
        guard let bigEndian = address.v4?.bigEndian else {
            throw SystemError("send an echo request to \(address)", code: EAFNOSUPPORT)
        }
        let result = clinux_ask_echo(bigEndian, Int32(size), timeoutMilliseconds)
        if result < 0 { throw SystemError("send an echo request of \(size) bytes to \(address)", code: errno) }
        return result == 1
    }
}
