import Glibc

/// A failed operation on the machine: what was tried, on what, and why the kernel refused.
public protocol KernelError: Error, Equatable, CustomStringConvertible {
    /// With its subject: "add address 10.0.0.100/32 to interface 4".
    var operation: String { get }
    /// An errno.
    var code: Int32 { get }
    /// What was said besides, if anything was.
    var detail: String? { get }
    /// The kernel refuses such operations to root, too, in a container or while it is locked down: EPERM does not tell
    /// that privilege is missing.
    var isRefusedToRoot: Bool { get }
}

extension KernelError {
    public var description: String {
        "\(operation): \(String(cString: strerror(code)))" + (detail.map { " (\($0))" } ?? "")
    }

    public var isRefusedToRoot: Bool { false }

    /// The kernel says "not you".
    public var isMissingPrivilege: Bool { code == EPERM || code == EACCES }
}

/// A system call that failed.
public struct SystemError: KernelError {
    public let operation: String
    public let code: Int32
    public let detail: String?

    /// With `errno` as the failed call left it.
    package init(_ operation: String) {
        let code = errno
        self.init(operation, code: code)
    }

    public init(_ operation: String, code: Int32, detail: String? = nil) {
        self.operation = operation
        self.code = code
        self.detail = detail
    }
}
