/// Collects what could not be looked at, and why.
final class Unchecked {
    private(set) var reasons: [String] = []

    func add(_ reason: String) { reasons.append(reason) }

    /// Looks at one thing. An error is collected, so that it keeps nobody from looking at the others.
    @discardableResult
    func look<Value>(_ subject: String, _ body: () throws -> Value) -> Value? {
        do { return try body() } catch {
            add("\(subject): \(error)")
            return nil
        }
    }
}
