internal import Yams

/// A value of a configuration file, and where it stands.
struct YAMLItem {
    /// `FILE:LINE: KEY`
    let place: String
    let node: Node

    /// What errors begin with: the value, too, where it is one.
    var described: String { node.scalar.map { "\(place) \(AddressText.quoted($0.string))" } ?? place }

    func text(_ findings: inout Findings, accepted: String = "one value") -> String? {
        guard let scalar = node.scalar else {
            findings.add(place, "no single value", accepted: accepted)
            return nil
        }
        return scalar.string
    }

    func value<Value>(
        _ findings: inout Findings, _ body: (String) throws(InvalidValue) -> Value
    ) -> Value? {
        guard let text = text(&findings) else { return nil }
        return findings.attempt(described) { () throws(InvalidValue) in try body(text) }
    }
}
