internal import LoadBalancing

/// A JSON document whose objects keep the order of their members.
enum JSONValue: Sendable {
    case string(String)
    case number(Int)
    case decimal(Double)
    case bool(Bool)
    case array([JSONValue])
    case object([(name: String, value: JSONValue)])

    /// Returns the document's text, indented by two spaces a level.
    func text(indent: String = "") -> String {
        let inner = indent + "  "
        return switch self {
        case .string(let text): text.quotedAsJSON
        case .number(let number): "\(number)"
        case .decimal(let number): "\(number)"
        case .bool(let value): "\(value)"
        case .array(let values):
            values.isEmpty ? "[]" : "[" + values.map { $0.text(indent: indent) }.joined(separator: ", ") + "]"
        case .object(let members):
            members.isEmpty
                ? "{}"
                : "{\n"
                    + members.map { "\(inner)\($0.name.quotedAsJSON): \($0.value.text(indent: inner))" }
                    .joined(separator: ",\n") + "\n\(indent)}"
        }
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByDictionaryLiteral {
    init(stringLiteral value: String) { self = .string(value) }

    init(dictionaryLiteral elements: (String, JSONValue)...) { self = .object(elements.map { ($0.0, $0.1) }) }
}
