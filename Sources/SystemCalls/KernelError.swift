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
