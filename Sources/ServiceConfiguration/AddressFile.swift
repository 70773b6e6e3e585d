public import Addresses

/// A file of addresses: one a line, `#` begins a comment.
public enum AddressFile {
    /// In the file's order, each once. `name` is for the errors, which tell of every bad line.
    public static func addresses(_ text: String, name: String) throws(ConfigurationErrors) -> [IPAddress] {
        var addresses: [IPAddress] = []
        var errors: [ConfigurationError] = []
        // A line may end by CR LF, one character of Swift's.
        for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            let word = line.prefix { $0 != "#" }.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace)
            if word.isEmpty { continue }
            do throws(InvalidValue) {
                let address = try AddressText.address(String(word.reversed()), accepted: "one A.B.C.D a line")
                if !addresses.contains(address) { addresses.append(address) }
            } catch {
                errors.append(ConfigurationError(place: "\(name) line \(index + 1)", error))
            }
        }
        if addresses.isEmpty, errors.isEmpty {
            let nothing = InvalidValue("no address in it", accepted: "one A.B.C.D a line")
            errors.append(ConfigurationError(place: name, nothing))
        }
        guard errors.isEmpty else { throw ConfigurationErrors(errors) }
        return addresses
    }
}
