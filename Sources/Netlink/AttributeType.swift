internal import CLibMNL

/// The number of an attribute. The kernel's headers define most in anonymous enumerations, which arrive as `Int`,
/// and some in named ones.
protocol AttributeType {
    var number: Int { get }
}

extension Int: AttributeType {
    var number: Int { self }
}

extension rtattr_type_t: AttributeType {
    var number: Int { Int(rawValue) }
}

extension nlmsgerr_attrs: AttributeType {
    var number: Int { Int(rawValue) }
}
