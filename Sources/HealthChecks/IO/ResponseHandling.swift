internal import LoadBalancing
internal import NIOCore

/// Puts a response's parts before its judge.
final class ResponseHandling {
    private static let searches = WorkThreads<SearchTurn>(limit: 2)

    private let progress: CheckProgress
    private var judge: any HTTPJudge

    init(progress: CheckProgress, judge: any HTTPJudge) {
        self.progress = progress
        self.judge = judge
    }

    func receive(_ event: HTTPEvent) {
        guard !progress.isOver else { return }
        let step = judge.receive(event)
        progress.stage = judge.stage
        switch step {
        case .wait: break
        case .end(let outcome): progress.end(outcome)
        case .search(let body, let patterns): search(body, for: patterns)
        }
    }

    private func search(_ body: [UInt8], for patterns: [Pattern]) {
        progress.releasePeer()
        let turn = SearchTurn(service: progress.service, patterns: patterns)
        // A search ends by itself: one that has no result by the deadline had too little of this machine.
        progress.run(on: Self.searches, turn, lack: "no thread searched the body in time") {
            Pattern.search(body, for: patterns)
        } completion: { progress, result in
            switch result {
            case .found: progress.pass()
            case .lacks(let pattern): progress.end(.failed("body does not match /\(pattern)/"))
            case .tooCostly(let pattern):
                let limit = "\(SearchTime.limit.nanoseconds / 1_000_000) ms, \(Expression.heapLimit >> 10) MiB"
                progress.end(
                    .failed("body match: the search for /\(pattern)/ takes too much time or memory (\(limit) at most)"))
            case .noMemory: progress.endForWant(of: "no memory to search the body")
            }
        }
    }
}

/// Whose search it is: one check's searches are made one at a time, however many real servers it has.
struct SearchTurn: Hashable {
    var service: ServiceAddress?
    var patterns: [Pattern]
}
