import Glibc

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
