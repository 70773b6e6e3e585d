import Testing

@testable import Director

/// The queue of reloads.
struct WaitingLineTests {
    private actor Room {
        private var line = WaitingLine()
        private(set) var log: [String] = []

        func stay(_ name: String, whileInside body: @Sendable () async -> Void) async {
            log.append("\(name) comes")
            await withCheckedContinuation { line.enter($0) }
            log.append("\(name) is in")
            await body()
            log.append("\(name) leaves")
            line.leave()
        }
    }

    @Test("callers are admitted one at a time, in the order of arrival")
    func order() async {
        let room = Room()
        let (inside, enters) = AsyncStream.makeStream(of: Void.self)
        let (release, opens) = AsyncStream.makeStream(of: Void.self)
        async let first: Void = room.stay("first") {
            enters.yield()
            for await _ in release { break }
        }
        for await _ in inside { break }
        var others: [Task<Void, Never>] = []
        for name in ["second", "third"] {
            others.append(Task { await room.stay(name) { for _ in 0..<5 { await Task.yield() } } })
            while await !room.log.contains("\(name) comes") { await Task.yield() }
        }
        #expect(await room.log == ["first comes", "first is in", "second comes", "third comes"])
        opens.yield()
        await first
        for other in others { await other.value }
        let rest = ["second", "third"].flatMap { ["\($0) is in", "\($0) leaves"] }
        #expect(await Array(room.log.dropFirst(4)) == ["first leaves"] + rest)
        // The queue is empty, so the next caller is admitted at once.
        await room.stay("fourth") {}
        #expect(await room.log.last == "fourth leaves")
    }
}
