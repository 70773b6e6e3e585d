internal import CLinux

/// A part of a response of any version of HTTP. Field names are in lower case.
enum HTTPEvent: Hashable {
    case head(status: Int, fields: [HTTPCheck.Field])
    case body([UInt8])
    case trailers([HTTPCheck.Field])
    case end
}

enum HTTPStep: Hashable {
    case wait
    case end(Outcome)
    /// The check passes if the body matches all of the patterns. The search may take long.
    case search([UInt8], [Pattern])
}

/// A judge of a response, which gets the response's parts as they arrive.
protocol HTTPJudge: Sendable {
    var stage: CheckStage { get }
    mutating func receive(_ event: HTTPEvent) -> HTTPStep
}

/// The judge of a response to an `HTTPCheck`.
struct HTTPResponseJudge: HTTPJudge {
    private(set) var stage = CheckStage.headers
    private let check: HTTPCheck
    private var body: [UInt8] = []
    private var digest: SHA256?
    /// Whether the step for the body was returned. Later parts of the response are ignored.
    private var hasConcluded = false

    init(_ check: HTTPCheck) {
        self.check = check
        if check.body.contains(where: { if case .sha256 = $0 { true } else { false } }) { digest = SHA256() }
    }

    mutating func receive(_ event: HTTPEvent) -> HTTPStep {
        guard !hasConcluded else { return .wait }
        switch event {
        case .head(let status, _):
            guard (200...).contains(status) || status == 101 else { return .wait }
            guard check.status.contains(where: { $0.contains(status) }) else {
                return .end(.failed("status \(status), expected \(Self.text(check.status))"))
            }
            stage = .body
            return .wait
        case .body(let bytes):
            digest?.update(bytes)
            body += bytes.prefix(max(0, check.bodyLimit - body.count))
            return digest == nil && body.count >= check.bodyLimit ? conclude() : .wait
        case .trailers:
            return .wait
        case .end:
            return conclude()
        }
    }

    private mutating func conclude() -> HTTPStep {
        hasConcluded = true
        var patterns: [Pattern] = []
        for expectation in check.body {
            switch expectation {
            case .contains(let text):
                guard body.contains(Array(text.utf8)) else { return .end(.failed("body lacks \"\(text)\"")) }
            case .matches(let pattern):
                patterns.append(pattern)
            case .sha256(let expected):
                let found = digest?.finish() ?? []
                guard found == expected else {
                    return .end(.failed("body has SHA-256 \(Self.hex(found)), expected \(Self.hex(expected))"))
                }
            }
        }
        guard !patterns.isEmpty else { return .end(.passed) }
        stage = .bodyMatch
        return .search(body, patterns)
    }

    private static func hex(_ bytes: [UInt8]) -> String { DNSRecordData(hex: bytes[...]).text }

    private static func text(_ ranges: [ClosedRange<Int>]) -> String {
        ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }.joined(separator: ", ")
    }
}

extension [UInt8] {
    /// Returns whether the part is among the bytes, in linear time for any input.
    func contains(_ part: [UInt8]) -> Bool { clinux_contains(self, count, part, part.count) != 0 }
}
