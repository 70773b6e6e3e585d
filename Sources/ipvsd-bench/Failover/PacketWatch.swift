import Addresses
import CLinux
import Glibc
import LoadBalancing
import Netlink
import Packets
import Synchronization

/// A watch on the switch, which records to which real server each packet of the client is tunnelled. Checks come from
/// the director's address, and are not recorded.
final class PacketWatch: Sendable {
    struct Seen: Sendable {
        /// The time of the last packet to each real server, in nanoseconds of the monotonic clock.
        var lastPacket: [IPv4Address: UInt64] = [:]
        /// The time of the last SYN to each real server.
        var lastSYN: [IPv4Address: UInt64] = [:]
        /// The connections of each port of the client, the first one first.
        var connections: [UInt16: [Connection]] = [:]
    }

    /// A connection of the client. Retransmitted SYNs have the same sequence number.
    struct Connection: Sendable {
        /// The time of the first SYN, in nanoseconds of the monotonic clock.
        var began: UInt64
        var sequence: UInt32
        /// The real server that its first SYN went to.
        var first: IPv4Address
        /// The real server that its last SYN went to.
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

    /// Records packets on `interface`, the director's port of the switch.
    func run(interface: String) {
        let index = Int32(if_nametoindex(interface))
        let descriptor = clinux_packet_socket(index, 100)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        var frame = [UInt8](repeating: 0, count: 96)
        while !isOver.load(ordering: .relaxed) {
            let count = clinux_receive_frame(descriptor, &frame, frame.count)
            if count < 0 { return }
            if count > 0 { record(frame.prefix(Int(count))) }
        }
    }

    /// Records a frame with TCP in IPv4 in an outer IPv4 packet. All other frames are left out.
    private func record(_ frame: ArraySlice<UInt8>) {
        let outer = frame.dropFirst(Ethernet.length)
        guard frame[Ethernet.type] == Ethernet.ipv4, outer[IPv4.protocolNumber] == IPProtocol.ipip,
            let inner = IPv4.payload(of: outer), inner[IPv4.protocolNumber] == IPProtocol.tcp,
            inner[IPv4.source] == client, let segment = IPv4.payload(of: inner),
            let server = outer[IPv4.destination], let port = segment[Ports.source],
            let sequence = segment[TCP.sequence], let flags = segment[TCP.flags]
        else { return }
        let now = nanoseconds()
        let isSYN = flags.isDisjoint(with: .ack) && flags.contains(.syn)
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
    /// Returns the connection of a request; nil: none was seen. The watch may lag behind by some milliseconds, and so
    /// 100 ms are allowed. The client does not use a port again within that time.
    func connection(of request: RequestRecord) -> PacketWatch.Connection? {
        connections[request.port]?.last { $0.began <= request.ended + 100_000_000 }
    }
}
