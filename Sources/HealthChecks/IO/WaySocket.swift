internal import Addresses
internal import Glibc
internal import NIOCore

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

    var socket: Socket {
        switch self {
        case .tunnel(let vip, let mark, let device, let source):
            Socket(source: source.value.bigEndian, destination: vip.value.bigEndian, mark: mark, device: device)
        case .direct(let address): Socket(source: 0, destination: address.value.bigEndian)
        }
    }

    /// The director's address in the tunnel; nil: whatever the routes say.
    var source: IPv4Address? {
        if case .tunnel(_, _, _, let source) = self { source } else { nil }
    }
}

extension IPv4Address {
    func socketAddress(port: UInt16) throws -> SocketAddress {
        try SocketAddress(ipAddress: description, port: Int(port))
    }
}
