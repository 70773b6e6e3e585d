public import Addresses
internal import Glibc
internal import NIOCore

extension Check {
    /// The way of a check to one server: through the tunnel to the VIP, or directly to the server's own address.
    public enum Way: Sendable, CustomStringConvertible {
        /// The tunnel to the VIP. The BPF program on `device`, an interface index, finds the real server by `mark`
        /// (SO_MARK). `source` is the director's address in the tunnel.
        case tunnel(vip: IPAddress, mark: UInt32, device: Int32, source: IPAddress)
        case direct(IPAddress)

        public var isTunnel: Bool { if case .tunnel = self { true } else { false } }

        var destination: IPAddress {
            switch self {
            case .tunnel(let vip, _, _, _): vip
            case .direct(let address): address
            }
        }

        public var description: String {
            switch self {
            case .tunnel(let vip, _, _, _): "to \(vip) through the tunnel"
            case .direct(let address): "to \(address)"
            }
        }
    }
}

/// The socket options and addresses of a way.
extension Check.Way {
    var socketOptions: [(ChannelOptions.Types.SocketOption, SocketOptionValue)] {
        guard case .tunnel(_, let mark, let device, _) = self else { return [] }
        // SO_MARK (36) and SO_BINDTOIFINDEX (62). The latter takes an interface index, where SO_BINDTODEVICE takes a
        // name.
        return [
            (ChannelOptions.socket(SocketOptionLevel(SOL_SOCKET), 36), SocketOptionValue(truncatingIfNeeded: mark)),
            (ChannelOptions.socket(SocketOptionLevel(SOL_SOCKET), 62), SocketOptionValue(device)),
        ]
    }

    /// The addresses and options of a socket outside of NIO. Addresses are in network byte order.
    struct Socket {
        /// The local address, or 0 where the routes decide.
        var source: UInt32
        var destination: UInt32
        /// The value of SO_MARK, or 0 for none.
        var mark: UInt32 = 0
        /// The interface index for SO_BINDTOIFINDEX, or 0 for none.
        var device: Int32 = 0
    }

    /// The addresses and options for a socket outside of NIO. Nil for IPv6, which `ProbeLoop` does not support.
    var socket: Socket? {
        switch self {
        case .tunnel(.v4(let vip), let mark, let device, .v4(let source)):
            Socket(source: source.bigEndian, destination: vip.bigEndian, mark: mark, device: device)
        case .direct(.v4(let address)): Socket(source: 0, destination: address.bigEndian)
        default: nil
        }
    }

    /// The director's address in the tunnel. Nil for the direct way, where the routes decide.
    var source: IPAddress? {
        if case .tunnel(_, _, _, let source) = self { source } else { nil }
    }
}

extension IPAddress {
    func socketAddress(port: UInt16) throws -> SocketAddress {
        try SocketAddress(ipAddress: description, port: Int(port))
    }
}
