public import Addresses

/// A socket that clients can reach: a listening socket of TCP, or a bound socket of UDP (proc_pid_net(5)).
public struct ListeningSocket: Sendable, Hashable {
    /// The local address. Nil: the wildcard address. The wildcard address of IPv6 counts as well, as it takes IPv4
    /// unless IPV6_V6ONLY is set.
    public var address: IPAddress?
    public var port: UInt16
    public var isUDP: Bool

    public init(address: IPAddress?, port: UInt16, isUDP: Bool = false) {
        self.address = address
        self.port = port
        self.isUDP = isUDP
    }

    /// Reads the text of /proc/net/tcp, tcp6, udp or udp6.
    static func parse(_ text: String, isUDP: Bool) -> [ListeningSocket] {
        text.split(separator: "\n").dropFirst().compactMap { line in
            let words = line.split(separator: " ")
            // The state is TCP_LISTEN, or TCP_CLOSE for a UDP socket without a peer.
            guard words.count > 3, words[3] == (isUDP ? "07" : "0A") else { return nil }
            let parts = words[1].split(separator: ":")
            guard parts.count == 2, let port = UInt16(parts[1], radix: 16) else { return nil }
            if parts[0].allSatisfy({ $0 == "0" }) { return ListeningSocket(address: nil, port: port, isUDP: isUDP) }
            var digits = parts[0]
            if digits.count == 32 {
                // ::ffff:A.B.C.D in 32-bit words of host byte order.
                guard digits.hasPrefix("0000000000000000FFFF0000") else { return nil }
                digits = digits.suffix(8)
            }
            // The address in network byte order is printed as a number of host byte order.
            return UInt32(digits, radix: 16).map {
                ListeningSocket(address: .v4(IPv4Address(bigEndian: $0)), port: port, isUDP: isUDP)
            }
        }
    }

    var description: String { "\(address.map { "\($0)" } ?? "*"):\(port)" }
}
