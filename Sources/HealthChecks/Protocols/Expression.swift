internal import CLibPCRE2
internal import Glibc

/// A compiled expression of PCRE2. No other type calls the library. Several threads may search with one expression.
final class Expression: Sendable {
    struct Invalid: Error { var reason: String }

    enum Finding {
        case found, absent, tooCostly
        /// The search failed for lack of memory.
        case noMemory
    }

    /// The deepest nesting of parentheses that is accepted. PCRE2's own default is the same.
    static let nestLimit = 250
    /// The most calls of the library's match() from one place in the body, at 34 ns each: 50 ms in all.
    private static let matchLimit: UInt32 = 1_500_000
    /// The deepest nesting of match(). Each level takes some 100 bytes of the heap.
    private static let depthLimit: UInt32 = 300_000
    /// The heap limit of a search, in KiB. A group that is repeated for each byte of a 64 KiB body takes 20 MiB.
    static let heapLimit: UInt32 = 32 << 10

    /// The compiled code. It is immutable, as `pcre2_match` takes it as a constant.
    private nonisolated(unsafe) let code: OpaquePointer

    init(_ text: String) throws(Invalid) {
        guard let context = pcre2_compile_context_create_8(nil) else { throw Invalid(reason: "no memory") }
        defer { pcre2_compile_context_free_8(context) }
        pcre2_set_parens_nest_limit_8(context, UInt32(Self.nestLimit))
        // The callout before each item checks the time that is left.
        var options = PCRE2_AUTO_CALLOUT
        if !text.utf8.allSatisfy({ $0 < 128 }) { options |= PCRE2_UCP | PCRE2_MATCH_INVALID_UTF }
        // (*UTF) sets PCRE2_UTF. With that option alone, invalid UTF-8 in a body would be an error.
        if text.hasPrefix("(*"), text.contains("(*UTF)") { options |= PCRE2_MATCH_INVALID_UTF }
        var (problem, place): (Int32, Int) = (0, 0)
        let code = Array(text.utf8CString).withUnsafeBytes { bytes in
            pcre2_compile_8(
                bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count - 1, options, &problem, &place,
                context)
        }
        guard let code else { throw Invalid(reason: "\(Self.message(problem)), at byte \(place)") }
        self.code = code
    }

    deinit { pcre2_code_free_8(code) }

    func search(_ body: [UInt8], within time: inout SearchTime) -> Finding {
        guard let context = pcre2_match_context_create_8(nil) else { return .noMemory }
        defer { pcre2_match_context_free_8(context) }
        guard let result = pcre2_match_data_create_8(1, nil) else { return .noMemory }
        defer { pcre2_match_data_free_8(result) }
        pcre2_set_match_limit_8(context, Self.matchLimit)
        pcre2_set_depth_limit_8(context, Self.depthLimit)
        pcre2_set_heap_limit_8(context, Self.heapLimit)
        let outcome = withUnsafeMutablePointer(to: &time) { time in
            pcre2_set_callout_8(
                context,
                { _, time in
                    let time = time?.assumingMemoryBound(to: SearchTime.self)
                    return time?.pointee.isOver() == true ? PCRE2_ERROR_CALLOUT : 0
                }, time)
            // An empty array may have a null address, which PCRE2 rejects.
            return (body.isEmpty ? [0] : body).withUnsafeBufferPointer {
                pcre2_match_8(code, $0.baseAddress, body.count, 0, 0, result, context)
            }
        }
        switch outcome {
        case 0...: return .found
        case PCRE2_ERROR_NOMATCH: return .absent
        case PCRE2_ERROR_NOMEMORY: return .noMemory
        default: return .tooCostly
        }
    }

    private static func message(_ code: Int32) -> String {
        var text = [UInt8](repeating: 0, count: 256)
        pcre2_get_error_message_8(code, &text, text.count)
        return String(decoding: text.prefix { $0 != 0 }, as: UTF8.self)
    }
}

/// The time limit of one check's searches. It counts this thread's processor time, so that a busy machine changes no
/// verdict.
struct SearchTime {
    static let limit = Duration.milliseconds(50)

    private let end: UInt64
    private var questions: UInt32 = 0

    init() { end = KernelClock.thread.nanoseconds + Self.limit.nanoseconds }

    /// Returns whether the time is used up. Only every 64th call reads the clock, and the others return false, as PCRE2
    /// makes up to 20 million calls a second.
    mutating func isOver() -> Bool {
        questions &+= 1
        return questions & 63 == 0 && KernelClock.thread.nanoseconds >= end
    }
}
