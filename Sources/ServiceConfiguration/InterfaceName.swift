/// The names that a network interface can have, as the kernel's dev_valid_name decides.
public enum InterfaceName {
    /// The bytes of the name that a device is made with; the kernel's IFNAMSIZ, 16, counts a terminating zero too.
    private static let maximumLengthOfNew = 15
    /// The bytes of any name: a device may have other ones (altname), for which the kernel's ALTIFNAMSIZ is 128.
    private static let maximumLength = 127

    static let accepted = names(upTo: maximumLength)

    private static func names(upTo length: Int) -> String { "1 to \(length) bytes without space, slash and colon" }

    /// `isNew`: a device is to be made with the name.
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
