import FoundationEssentials

/// The paths and types of values in JSON: what a script finds there.
struct JSONShape {
    private enum Value: Decodable {
        case null, bool, number, string
        case array([Value])
        case object([String: Value])

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if container.decodeNil() {
                self = .null
            } else if (try? container.decode(Bool.self)) != nil {
                self = .bool
            } else if (try? container.decode(Double.self)) != nil {
                self = .number
            } else if (try? container.decode(String.self)) != nil {
                self = .string
            } else if let items = try? container.decode([Value].self) {
                self = .array(items)
            } else {
                self = .object(try container.decode([String: Value].self))
            }
        }

        var type: String {
            switch self {
            case .null: "null"
            case .bool: "boolean"
            case .number: "number"
            case .string: "string"
            case .array: "array"
            case .object: "object"
            }
        }
    }

    /// Paths of objects whose keys are names or addresses, not fields.
    var dictionaries: Set<String> = []

    /// A line for each path below `root` that one of the texts has; `null` and `absent` where another lacks the value.
    func lines(_ root: String, _ texts: [[UInt8]]) throws -> [String] {
        lines(root, try texts.map { try JSONDecoder().decode(Value.self, from: Data($0)) }, isComplete: true)
    }

    private func lines(_ path: String, _ values: [Value], isComplete: Bool) -> [String] {
        let items = values.flatMap { value in if case .array(let items) = value { items } else { [Value]() } }
        let objects = values.compactMap { value in if case .object(let fields) = value { fields } else { nil } }
        var types = Set(values.map(\.type)).sorted { ($0 == "null" ? 1 : 0, $0) < ($1 == "null" ? 1 : 0, $1) }
        if !isComplete { types.append("absent") }
        let own = objects.isEmpty || types.count > 1 ? ["\(path): \(types.joined(separator: " | "))"] : []
        let ofItems = items.isEmpty ? [] : lines(path + "[]", items, isComplete: true)
        // An array whose items have lines of their own needs none.
        let isPlainArray = types == ["array"] && !items.isEmpty
        if dictionaries.contains(path) {
            return own + lines(path + ".*", objects.flatMap(\.values), isComplete: true)
        }
        let fields = Set(objects.flatMap(\.keys)).sorted().flatMap { key in
            let found = objects.compactMap { $0[key] }
            return lines("\(path).\(key)", found, isComplete: found.count == objects.count)
        }
        return (isPlainArray ? [] : own) + ofItems + fields
    }

    /// The paths of optionals without a value, and of empty collections: a sample that has any hides what is in them.
    static func unfilled(_ value: Any, at path: String = "") -> [String] {
        let mirror = Mirror(reflecting: value)
        switch mirror.displayStyle {
        case .optional:
            guard let wrapped = mirror.children.first else { return [path] }
            return unfilled(wrapped.value, at: path)
        case .collection, .dictionary, .set:
            guard !mirror.children.isEmpty else { return [path] }
            return mirror.children.flatMap { unfilled($0.value, at: path + "[]") }
        default:
            return mirror.children.flatMap { child in unfilled(child.value, at: "\(path).\(child.label ?? "")") }
        }
    }
}
