/// A check that cannot be asked: what was given, and what is accepted.
public struct InvalidCheck: Error, Hashable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }
}
