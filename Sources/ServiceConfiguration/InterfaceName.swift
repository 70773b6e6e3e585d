/// The names that a network interface can have by the kernel's dev_valid_name.
public enum InterfaceName {
    /// The most bytes in the name of a new device. The kernel's IFNAMSIZ is 16, with the terminating zero.
    private static let maximumLengthOfNew = 15
    /// The most bytes in any name. Alternative names (altname) have the kernel's ALTIFNAMSIZ, 128, with the terminating
    /// zero.
    private static let maximumLength = 127

    static let accepted = names(upTo: maximumLength)

    private static func names(upTo length: Int) -> String { "1 to \(length) bytes without space, slash and colon" }

    /// Refuses a text that cannot be an interface's name. `isNew` says that the device is still to be made, and has no
    /// alternative name.
    public static func validate(_ name: String, isNew: Bool = false) throws(InvalidValue) {
        let maximumLength = isNew ? maximumLengthOfNew : maximumLength
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
        throw InvalidValue(problem, accepted: names(upTo: maximumLength))
    }
}
