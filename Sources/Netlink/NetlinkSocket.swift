internal import CLibMNL
import Glibc
public import SystemCalls

/// A NETLINK_ROUTE socket. Only this type calls libmnl. Two threads must not use one socket at once.
final class NetlinkSocket {
    /// The size of the receive buffer, in bytes. A dump's datagrams have at most 32 KiB (netlink_recvmsg of the
    /// kernel), and a notification has about a page.
    private static let bufferSize = 65_536

    private let socket: OpaquePointer
    private var buffer = [UInt8](repeating: 0, count: bufferSize)

    /// Opens a socket. `groups` is a mask of multicast groups, with bit n-1 for RTNLGRP n.
    init(groups: UInt32 = 0, blocking: Bool) throws(NetlinkError) {
        let flags = SOCK_CLOEXEC_FLAG | (blocking ? 0 : SOCK_NONBLOCK_FLAG)
        guard let socket = mnl_socket_open2(NETLINK_ROUTE, flags) else {
            throw NetlinkError("open netlink socket", code: errno)
        }
        // The options ask for filters in the kernel, its reasons as text, and acknowledgements that do not quote the
        // request. Old kernels work without these options.
        for option in [NETLINK_GET_STRICT_CHK, NETLINK_EXT_ACK, NETLINK_CAP_ACK] {
            var on: Int32 = 1
            _ = mnl_socket_setsockopt(socket, option, &on, socklen_t(MemoryLayout<Int32>.size))
        }
        guard mnl_socket_bind(socket, groups, pid_t(MNL_SOCKET_AUTOPID)) == 0 else {
            let code = errno
            mnl_socket_close(socket)
            throw NetlinkError("bind netlink socket", code: code)
        }
        // The kernel answers a request before sendto returns, so an answer that is missing after 10 s is lost.
        var timeout = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(
            mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        self.socket = socket
    }

    deinit { mnl_socket_close(socket) }

    var descriptor: Int32 { mnl_socket_get_fd(socket) }

    /// The socket's port id, which is `nlmsg_pid` of the answers.
    var port: UInt32 { mnl_socket_get_portid(socket) }

    /// Sends a message. Returns 0, or an errno.
    func send(_ message: [UInt8]) -> Int32 {
        while true {
            let sent = message.withUnsafeBytes { mnl_socket_sendto(socket, $0.baseAddress, $0.count) }
            if sent >= 0 { return 0 }
            if errno != EINTR { return errno }
        }
    }

    /// Returns the messages of the next datagram, or an errno. EAGAIN: there is no datagram, or none came in time.
    /// ENOBUFS: datagrams were lost. ENOSPC: the datagram is longer than the buffer.
    func receive() -> Result<[Message], Failure> {
        while true {
            let count = buffer.withUnsafeMutableBytes { mnl_socket_recvfrom(socket, $0.baseAddress, $0.count) }
            if count >= 0 { return .success(Message.split(Array(buffer.prefix(count)))) }
            if errno != EINTR { return .failure(Failure(code: errno)) }
        }
    }

    struct Failure: Error {
        let code: Int32
    }
}

// Glibc has these constants as cases of an enumeration.
private let SOCK_CLOEXEC_FLAG = Int32(SOCK_CLOEXEC.rawValue)
private let SOCK_NONBLOCK_FLAG = Int32(SOCK_NONBLOCK.rawValue)

/// A netlink request that failed.
public struct NetlinkError: KernelError {
    public let operation: String
    public let code: Int32
    /// The kernel's extended acknowledgement (NLMSGERR_ATTR_MSG). Nil: the kernel sent none.
    public let detail: String?

    public init(_ operation: String, code: Int32, detail: String? = nil) {
        self.operation = operation
        self.code = code
        self.detail = detail
    }
}
