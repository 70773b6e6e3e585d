import CLibBPF
import Glibc

/// A failed BPF operation: what was tried, on what, and why the kernel refused.
public struct BPFError: Error, CustomStringConvertible, Equatable {
    public let operation: String
    /// An errno.
    public let code: Int32
    /// The verifier's telling line, where there is one.
    public var detail: String?

    public init(_ operation: String, code: Int32, detail: String? = nil) {
        self.operation = operation
        self.code = code
        self.detail = detail
    }

    public var description: String {
        "\(operation): \(String(cString: strerror(code)))" + (detail.map { " (\($0))" } ?? "")
    }
}

/// Keeps libbpf off standard error. Call once, before anything else of this module.
public func silenceLibbpf() {
    _ = libbpf_set_print { _, _, _ in 0 }
}

/// The size that an options structure claims: up to its last field that we know. Padding behind it may hold anything,
/// and libbpf refuses what is not zero.
func size<Options, Field>(through last: KeyPath<Options, Field>) -> Int {
    (MemoryLayout<Options>.offset(of: last) ?? 0) + MemoryLayout<Field>.size
}
