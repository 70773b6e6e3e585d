extension MemoryLayout {
    /// Returns the offset of a stored property, in bytes. Traps for a computed property, which has no offset.
    public static func offset(ofStored field: PartialKeyPath<T>) -> Int {
        guard let offset = offset(of: field) else { preconditionFailure("\(field) is not stored in \(T.self)") }
        return offset
    }
}
