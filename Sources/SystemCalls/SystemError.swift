import Glibc

/// An error about an operation on the machine: the operation, its object, and the kernel's reason.
public protocol KernelError: Error, Equatable, CustomStringConvertible {
    /// The operation with its object: "add address 10.0.0.100/32 to interface 4".
    var operation: String { get }
    /// The errno of the failure.
    var code: Int32 { get }
    /// The kernel's further explanation, or nil.
    var detail: String? { get }
    /// Whether the kernel can refuse such operations to root, too, in a container or while the kernel is locked down.
    /// EPERM then does not prove a missing privilege.
    var isRefusedToRoot: Bool { get }
}

extension KernelError {
    public var description: String {
        "\(operation): \(String(cString: strerror(code)))" + (detail.map { " (\($0))" } ?? "")
    }

    public var isRefusedToRoot: Bool { false }

    /// Whether the kernel refused the operation for lack of a privilege.
    public var isMissingPrivilege: Bool { code == EPERM || code == EACCES }
}

/// The error of a failed system call.
public struct SystemError: KernelError {
    public let operation: String
    public let code: Int32
    public let detail: String?

    /// Creates the error from `errno`, which the failed call has set.
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
