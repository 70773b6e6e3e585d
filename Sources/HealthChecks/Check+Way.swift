public import Addresses
internal import Glibc
internal import NIOCore

extension Check {
    /// The way of a question: to the VIP through the tunnel, or to the server's own address.
    public enum Way: Sendable, CustomStringConvertible {
        /// `mark` names the real server to the program on `device`, an interface's index; `source` is the director's.
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

/// What makes a socket take a way.
extension Check.Way {
    var socketOptions: [(ChannelOptions.Types.SocketOption, SocketOptionValue)] {
        guard case .tunnel(_, let mark, let device, _) = self else { return [] }
        // SO_MARK and SO_BINDTOIFINDEX, which takes an int where SO_BINDTODEVICE takes a name.
        return [
            (ChannelOptions.socket(SocketOptionLevel(SOL_SOCKET), 36), SocketOptionValue(truncatingIfNeeded: mark)),
            (ChannelOptions.socket(SocketOptionLevel(SOL_SOCKET), 62), SocketOptionValue(device)),
        ]
    }

    /// The same for sockets that are not NIO's.
    struct Socket {
        /// Addresses in network byte order; 0: none.
        var source: UInt32
        var destination: UInt32
        var mark: UInt32 = 0
        var device: Int32 = 0
    }

    /// Nil for IPv6, which these sockets do not have.
    var socket: Socket? {
        switch self {
        case .tunnel(.v4(let vip), let mark, let device, .v4(let source)):
            Socket(source: source.bigEndian, destination: vip.bigEndian, mark: mark, device: device)
        case .direct(.v4(let address)): Socket(source: 0, destination: address.bigEndian)
        default: nil
        }
    }

    /// The director's address in the tunnel; nil: whatever the routes say.
    var source: IPAddress? {
        if case .tunnel(_, _, _, let source) = self { source } else { nil }
    }
}

extension IPAddress {
    func socketAddress(port: UInt16) throws -> SocketAddress {
        try SocketAddress(ipAddress: description, port: Int(port))
    }
}
