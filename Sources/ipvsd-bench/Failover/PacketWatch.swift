import CLinux
import Glibc
import LoadBalancing
import Netlink
import Synchronization

/// Sees on the switch which real server each of the client's packets is tunnelled to. (Checks are the director's packets.)
final class PacketWatch: Sendable {
    struct Seen: Sendable {
        /// Nanoseconds of the monotonic clock, of each real server.
        var lastPacket: [IPv4Address: UInt64] = [:]
        var lastSYN: [IPv4Address: UInt64] = [:]
        /// By the client's port, in their order.
        var connections: [UInt16: [Connection]] = [:]
    }

    /// Retransmitted SYNs have the same sequence number.
    struct Connection: Sendable {
        var began: UInt64
        var sequence: UInt32
        /// The ones that its first and its last SYN went to.
        var first: IPv4Address
        var last: IPv4Address
    }

    private let isOver = Atomic(false)
    private let seen = Mutex(Seen())
    private let client: IPv4Address

    init(client: IPv4Address) { self.client = client }

    func stop() -> Seen {
        isOver.store(true, ordering: .relaxed)
        return seen.withLock { $0 }
    }

    /// On the director's port of the switch.
    func run(interface: String) {
        let index = Int32(if_nametoindex(interface))
        let descriptor = clinux_packet_socket(index, 100)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        var frame = [UInt8](repeating: 0, count: 96)
        while !isOver.load(ordering: .relaxed) {
            let count = clinux_receive_frame(descriptor, &frame, frame.count)
            if count < 0 { return }
            if count >= 74 { take(frame) }
        }
    }

    /// Ethernet, IPv4 without options around IPv4 without options around TCP.
    private func take(_ frame: [UInt8]) {
        func u16(_ offset: Int) -> UInt16 { UInt16(frame[offset]) << 8 | UInt16(frame[offset + 1]) }
        func u32(_ offset: Int) -> UInt32 { UInt32(u16(offset)) << 16 | UInt32(u16(offset + 2)) }
        guard u16(12) == 0x0800, frame[14] == 0x45, frame[23] == 4, frame[34] == 0x45, frame[43] == 6,
            u32(46) == client.value
        else { return }
        let server = IPv4Address(u32(30))
        let now = nanoseconds()
        let isSYN = frame[67] & 0x12 == 0x02
        let (port, sequence) = (u16(54), u32(58))
        seen.withLock { seen in
            seen.lastPacket[server] = now
            guard isSYN else { return }
            seen.lastSYN[server] = now
            if let latest = seen.connections[port]?.indices.last,
                seen.connections[port]?[latest].sequence == sequence
            {
                seen.connections[port]?[latest].last = server
            } else {
                seen.connections[port, default: []].append(
                    Connection(began: now, sequence: sequence, first: server, last: server))
            }
        }
    }
}

extension PacketWatch.Seen {
    /// nil: none was seen. The watch may lag by some milliseconds; a client's port is not used again so soon.
    func connection(of request: RequestRecord) -> PacketWatch.Connection? {
        connections[request.port]?.last { $0.began <= request.ended + 100_000_000 }
    }
}
