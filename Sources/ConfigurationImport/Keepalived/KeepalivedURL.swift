internal import HealthChecks
internal import ServiceConfiguration

/// A url block of HTTP_GET or SSL_GET.
struct KeepalivedURL {
    private(set) var path = ""
    private(set) var virtualHost: String?
    /// The accepted statuses. The default is that of keepalived since 2.0.
    private(set) var statuses = ["200-299"]
    /// The regular expression behind its options, or nil if ipvsd has none.
    private(set) var regex: String?

    private var pattern: (text: String, place: SourcePlace)?
    private var patternOptions: Set<String> = []
    private var patternVerbs: Set<String> = []
    private var isReversed = false
    private var namesStatuses = false

    /// The letters of PCRE options, as in `(?i)`, by keepalived's names of the options.
    private static let letters = [
        "caseless": "i", "multiline": "m", "dotall": "s", "extended": "x", "dupnames": "J", "ungreedy": "U",
    ]
    /// The verbs of PCRE options, which begin an expression, by keepalived's names of the options.
    private static let verbs = ["utf": "(*UTF)", "ucp": "(*UCP)"]
    /// The PCRE options that have no effect on the result of a match.
    private static let idle = ["no_auto_possess", "no_start_optimize", "no_dotstar_anchor"]

    init(_ statement: KeepalivedStatement, _ remarks: inout [PlacedRemark]) throws(InvalidValue) {
        for line in statement.statements {
            line.attempt { () throws(InvalidValue) in try read(line, &remarks) }
        }
        guard !path.isEmpty else { throw InvalidValue("url without path", accepted: "path /…") }
        guard let (text, place) = pattern else { return }
        if isReversed {
            remarks.append(
                PlacedRemark(.left, place, "regex_no_match: ipvsd has no check that fails where a body matches"))
        } else {
            let letters = patternOptions.isEmpty ? "" : "(?\(patternOptions.sorted().joined()))"
            let whole = patternVerbs.sorted().joined() + letters + text
            do {
                regex = try Pattern(whole).description
                if !text.utf8.allSatisfy({ $0 < 128 }), !patternVerbs.contains("(*UTF)"), !text.hasPrefix("(*UTF)") {
                    remarks.append(
                        PlacedRemark(
                            .changed, place,
                            "regex: with letters beyond ASCII ipvsd searches for characters; keepalived without "
                                + "'regex_options utf' searches for bytes"))
                }
            } catch { remarks.append(PlacedRemark(.left, place, "regex: \(error)")) }
        }
    }

    private mutating func read(
        _ line: KeepalivedStatement, _ remarks: inout [PlacedRemark]
    ) throws(InvalidValue) {
        let place = line.place
        switch line.keyword {
        case "path": path = try line.value("/PATH")
        case "virtualhost": virtualHost = line.name() ?? virtualHost
        case "status_code":
            for word in line.values { line.attempt { () throws(InvalidValue) in try add(status: word) } }
        case "digest":
            remarks.append(
                PlacedRemark(
                    .left, place,
                    "digest: ipvsd takes no MD5; \(Options.bodyDigest.keyName) is that of the body: curl -s URL | sha256sum"
                ))
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
                    patternOptions.insert(letter)
                } else if let verb = Self.verbs[word] {
                    patternVerbs.insert(verb)
                } else if !Self.idle.contains(word) {
                    remarks.append(
                        PlacedRemark(.left, place, "regex_options \(word): ipvsd's expressions have no such option"))
                }
            }
        case "regex_min_offset", "regex_max_offset":
            remarks.append(PlacedRemark(.left, place, "\(line.title): ipvsd searches the whole body"))
        case "regex_stack": remarks.append(PlacedRemark(.note, place, "regex_stack: ipvsd's expressions have none"))
        default: KeepalivedVirtualServer.note(line, &remarks)
        }
    }

    /// Adds a status such as `200`, or a range such as `200-299`. The first status or range replaces the default.
    private mutating func add(status word: String) throws(InvalidValue) {
        let parts = word.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        let first = try ImportNumbers.number(parts[0], in: 100...599, called: "status")
        let last =
            parts.count > 1 ? try ImportNumbers.number(parts[1], in: first...599, called: "end of statuses") : first
        statuses = (namesStatuses ? statuses : []) + [first == last ? "\(first)" : "\(first)-\(last)"]
        namesStatuses = true
    }
}
