import CLibBPF
public import SystemCalls

/// A failed BPF operation.
public struct BPFError: KernelError {
    public let operation: String
    public let code: Int32
    /// The verifier's telling line, where there is one.
    public var detail: String?

    public var isRefusedToRoot: Bool { true }

    public init(_ operation: String, code: Int32, detail: String? = nil) {
        self.operation = operation
        self.code = code
        self.detail = detail
    }
}

/// Keeps libbpf off standard error. Call once, before anything else of this module.
public func silenceLibbpf() {
    _ = libbpf_set_print { _, _, _ in 0 }
}

/// The size that an options structure claims: up to its last field that we know. Padding behind it may hold anything,
/// and libbpf refuses what is not zero.
func size<Options, Field>(through last: KeyPath<Options, Field>) -> Int {
    MemoryLayout<Options>.offset(ofStored: last) + MemoryLayout<Field>.size
}
