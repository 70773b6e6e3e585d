/// Why nothing can be captured, by what the operator can do about it.
public struct CaptureError: Error, CustomStringConvertible {
    public enum Kind: Sendable {
        /// No director's program is on an interface.
        case noDirector
        case noPrivilege
        /// The kernel does not let programs be traced.
        case kernel
    }

    public let kind: Kind
    public let description: String

    init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }
}
