internal import Glibc
internal import LoadBalancing
internal import NIOCore

/// What makes a socket take a way.
extension Prober.Way {
    var socketOptions: [(ChannelOptions.Types.SocketOption, SocketOptionValue)] {
        guard case .tunnel(_, let mark, let device, _) = self else { return [] }
        // SO_MARK and SO_BINDTOIFINDEX, which takes an int where SO_BINDTODEVICE takes a name.
        return [
            (ChannelOptions.socket(SocketOptionLevel(SOL_SOCKET), 36), SocketOptionValue(truncatingIfNeeded: mark)),
            (ChannelOptions.socket(SocketOptionLevel(SOL_SOCKET), 62), SocketOptionValue(device)),
        ]
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
