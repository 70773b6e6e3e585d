/// A capture that cannot begin, by the remedy.
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
