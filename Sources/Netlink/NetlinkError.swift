import Glibc

/// A netlink request that failed: what was asked, the errno, and what the kernel said about it.
public struct NetlinkError: Error, Equatable, CustomStringConvertible {
    /// With its subject: "add address 10.0.0.100/32 to interface 4".
    public let operation: String
    /// An errno.
    public let code: Int32
    /// The kernel's extended acknowledgement (NLMSGERR_ATTR_MSG), where it sent one.
    public let detail: String?

    public init(_ operation: String, code: Int32, detail: String? = nil) {
        self.operation = operation
        self.code = code
        self.detail = detail
    }

    public var description: String {
        "\(operation): \(String(cString: strerror(code)))" + (detail.map { " (\($0))" } ?? "")
    }
}
