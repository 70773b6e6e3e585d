extension MemoryLayout {
    /// Returns the offset of a stored field. Traps for a computed one, which has none.
    public static func offset(ofStored field: PartialKeyPath<T>) -> Int {
        guard let offset = offset(of: field) else { preconditionFailure("\(field) is not stored in \(T.self)") }
        return offset
    }
}
