/// The names that a network interface can have, as the kernel's dev_valid_name decides.
public enum InterfaceName {
    /// The bytes of a name; the kernel's IFNAMSIZ, 16, counts a terminating zero too.
    public static let maximumLength = 15

    static let accepted = "1 to \(maximumLength) bytes without space, slash and colon"

    public static func validate(_ name: String) throws(InvalidValue) {
        let problem: String? =
            if name.isEmpty {
                "the name is empty"
            } else if name.utf8.count > maximumLength {
                "the name has \(name.utf8.count) bytes"
            } else if name == "." || name == ".." {
                "the name is no interface's"
            } else if name.contains(where: { $0.isWhitespace || $0 == "/" || $0 == ":" || $0 == "\0" }) {
                "the name has a space, slash or colon"
            } else {
                nil
            }
        guard let problem else { return }
        throw InvalidValue(problem, accepted: accepted)
    }
}
