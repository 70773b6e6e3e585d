import CLibBPF
public import SystemCalls

/// A failed BPF operation.
public struct BPFError: KernelError {
    public let operation: String
    public let code: Int32
    /// The line of the verifier's log that has the error, where there is one.
    public var detail: String?

    public var isRefusedToRoot: Bool { true }

    public init(_ operation: String, code: Int32, detail: String? = nil) {
        self.operation = operation
        self.code = code
        self.detail = detail
    }
}

/// Keeps libbpf from writing to standard error. Has to be called once, before anything else of this module.
public func silenceLibbpf() {
    _ = libbpf_set_print { _, _, _ in 0 }
}

/// Returns the size of an options structure up to its last known field. Padding behind it may have any value, and
/// libbpf refuses values other than zero.
func size<Options, Field>(through last: KeyPath<Options, Field>) -> Int {
    MemoryLayout<Options>.offset(ofStored: last) + MemoryLayout<Field>.size
}
