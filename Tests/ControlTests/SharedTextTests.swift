import Synchronization
import Testing

@testable import Control

/// A text that many readers share.
struct SharedTextTests {
    private static func ask(_ shared: SharedText<String>, times: Int) async -> Set<String?> {
        await withTaskGroup(of: String?.self) { group in
            for _ in 0..<times { group.addTask { (try? await shared.text()) ?? nil } }
            return await group.reduce(into: []) { $0.insert($1) }
        }
    }

    @Test("readers within the lifetime share one text")
    func thoseWhoAskWithinItsLifetimeShareIt() async {
        let gathered = Atomic(0)
        let shared = SharedText(lifetime: .seconds(3600)) {
            "\(gathered.add(1, ordering: .relaxed).newValue)"
        }
        #expect(await Self.ask(shared, times: 200) == ["1"])
        #expect(await Self.ask(shared, times: 1) == ["1"])
        #expect(gathered.load(ordering: .relaxed) == 1)
    }

    @Test("after the lifetime the text is gathered again, once at a time")
    func afterwardsItIsGatheredAgainOneAtATime() async {
        let gathered = Atomic(0)
        let atOnce = Atomic(0)
        let most = Atomic(0)
        let shared = SharedText(lifetime: .zero) {
            most.max(atOnce.add(1, ordering: .relaxed).newValue, ordering: .relaxed)
            await Task.yield()
            atOnce.subtract(1, ordering: .relaxed)
            return "\(gathered.add(1, ordering: .relaxed).newValue)"
        }
        _ = await Self.ask(shared, times: 50)
        let first = await Self.ask(shared, times: 1)
        #expect(await Self.ask(shared, times: 1) != first)
        #expect(most.load(ordering: .relaxed) == 1)
    }
}
