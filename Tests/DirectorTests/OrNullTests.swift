import Foundation
import Testing

@testable import Director

/// The JSON of unknown values.
struct OrNullTests {
    private struct Row: Codable, Equatable {
        @OrNull var since: String? = nil
    }

    @Test(
        "the key is encoded for nil, too", arguments: [(nil, #"{"since":null}"#), ("now", #"{"since":"now"}"#)])
    func theKeyIsAlwaysThere(since: String?, json: String) throws {
        #expect(String(decoding: try JSONEncoder().encode(Row(since: since)), as: UTF8.self) == json)
        #expect(try JSONDecoder().decode(Row.self, from: Data(json.utf8)) == Row(since: since))
    }

    /// An older daemon omits keys.
    @Test("a missing key decodes as nil, and a wrong type is an error")
    func withoutTheKeyItIsNil() throws {
        #expect(try JSONDecoder().decode(Row.self, from: Data("{}".utf8)) == Row())
        #expect(throws: DecodingError.self) { try JSONDecoder().decode(Row.self, from: Data(#"{"since":1}"#.utf8)) }
    }
}
