public import SystemCalls

/// A netlink request that failed.
public struct NetlinkError: KernelError {
    public let operation: String
    public let code: Int32
    /// The kernel's extended acknowledgement (NLMSGERR_ATTR_MSG), where it sent one.
    public let detail: String?

    public init(_ operation: String, code: Int32, detail: String? = nil) {
        self.operation = operation
        self.code = code
        self.detail = detail
    }
}
