import Glibc

/// A failed operation on the machine: what was tried, on what, and the errno.
public struct SystemError: Error, Equatable, CustomStringConvertible {
    public let operation: String
    /// An errno; EPERM and EACCES mean missing privilege.
    public let code: Int32
    public let detail: String?

    /// With `errno` as the failed call left it.
    init(_ operation: String) {
        let code = errno
        self.init(operation, code: code)
    }

    public init(_ operation: String, code: Int32, detail: String? = nil) {
        self.operation = operation
        self.code = code
        self.detail = detail
    }

    public var description: String {
        "\(operation): \(String(cString: strerror(code)))" + (detail.map { " (\($0))" } ?? "")
    }
}
