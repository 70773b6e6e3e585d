import Foundation
import Testing

@testable import Director

/// What JSON says of values that are not known.
struct OrNullTests {
    private struct Row: Codable, Equatable {
        @OrNull var since: String? = nil
    }

    @Test(arguments: [(nil, #"{"since":null}"#), ("now", #"{"since":"now"}"#)])
    func theKeyIsAlwaysThere(since: String?, json: String) throws {
        #expect(String(decoding: try JSONEncoder().encode(Row(since: since)), as: UTF8.self) == json)
        #expect(try JSONDecoder().decode(Row.self, from: Data(json.utf8)) == Row(since: since))
    }

    /// As of a daemon that does not know it yet.
    @Test func withoutTheKeyItIsNil() throws {
        #expect(try JSONDecoder().decode(Row.self, from: Data("{}".utf8)) == Row())
        #expect(throws: DecodingError.self) { try JSONDecoder().decode(Row.self, from: Data(#"{"since":1}"#.utf8)) }
    }
}
