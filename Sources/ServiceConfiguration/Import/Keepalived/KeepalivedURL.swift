internal import HealthChecks

/// A url block of HTTP_GET or SSL_GET.
struct KeepalivedURL {
    private(set) var path = ""
    private(set) var virtualHost: String?
    /// keepalived's default since 2.0.
    private(set) var statuses = ["200-299"]
    /// With its options in front.
    private(set) var regex: String?

    /// PCRE's options that have a letter.
    private static let letters = [
        "caseless": "i", "multiline": "m", "dotall": "s", "extended": "x", "dupnames": "J", "ungreedy": "U",
    ]
    /// Those that stand at the beginning of an expression.
    private static let verbs = ["utf": "(*UTF)", "ucp": "(*UCP)"]

    init(_ statement: KeepalivedStatement, _ remarks: inout [PlacedRemark]) throws(InvalidValue) {
        var pattern: (text: String, place: SourcePlace)?
        var (letters, verbs) = ("", "")
        var isReversed = false
        for line in try statement.statements() {
            let place = line.place
            switch line.keyword {
            case "path": path = try line.value("/PATH")
            case "virtualhost": virtualHost = try line.value("NAME")
            case "status_code": statuses = try Self.statuses(line)
            case "digest":
                remarks.append(
                    PlacedRemark(
                        .left, place,
                        "digest: ipvsd takes no MD5; body-sha256 is that of the body: curl -s URL | sha256sum"))
            case "regex":
                let words = try KeepalivedCommand.split(line.text, escapes: true)
                guard words.count == 2 else {
                    throw InvalidValue("regex is one word", accepted: "regex PATTERN, in quotes where it has spaces")
                }
                pattern = (words[1], place)
            case "regex_no_match": isReversed = true
            case "regex_options":
                for word in line.values {
                    if let letter = Self.letters[word] {
                        letters += letter
                    } else if let verb = Self.verbs[word] {
                        verbs += verb
                    } else if !["no_auto_possess", "no_start_optimize", "no_dotstar_anchor"].contains(
                        word)
                    {
                        remarks.append(
                            PlacedRemark(.left, place, "regex_options \(word): ipvsd's expressions have no such option")
                        )
                    }
                }
            case "regex_min_offset", "regex_max_offset":
                remarks.append(PlacedRemark(.left, place, "\(line.title): ipvsd searches the whole body"))
            case "regex_stack": remarks.append(PlacedRemark(.note, place, "regex_stack: ipvsd's expressions have none"))
            case "tls_compliant": KeepalivedVirtualServer.note(line, &remarks)
            default: remarks.append(PlacedRemark(.left, place, "\(line.title): unknown to ipvsd import"))
            }
        }
        guard !path.isEmpty else { throw InvalidValue("url without path", accepted: "path /…") }
        guard let (text, place) = pattern else { return }
        if isReversed {
            remarks.append(
                PlacedRemark(.left, place, "regex_no_match: ipvsd has no check that fails where a body matches"))
        } else {
            let whole = verbs + (letters.isEmpty ? "" : "(?\(String(Set(letters).sorted())))") + text
            do {
                regex = try Pattern(whole).description
            } catch { remarks.append(PlacedRemark(.left, place, "regex: \(error)")) }
        }
    }

    private static func statuses(_ line: KeepalivedStatement) throws(InvalidValue) -> [String] {
        _ = try line.value("200-299", more: true)
        var statuses: [String] = []
        for word in line.values {
            let parts = word.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
            let first = try ImportNumbers.number(parts[0], in: 100...599, called: "status")
            guard parts.count > 1 else {
                statuses.append("\(first)")
                continue
            }
            statuses.append(
                "\(first)-\(try ImportNumbers.number(parts[1], in: first...599, called: "end of statuses"))")
        }
        return statuses
    }
}
