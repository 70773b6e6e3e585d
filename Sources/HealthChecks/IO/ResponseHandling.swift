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
        progress.run(on: Self.searches, turn, lack: "no thread was free to search the body", untilBegun: true) {
            Pattern.search(body, for: patterns)
        } completion: { progress, result in
            switch result {
            case .found: progress.pass()
            case .lacks(let pattern): progress.end(.failed("body does not match /\(pattern)/"))
            case .tooCostly(let pattern):
                let limit = SearchTime.limit.nanoseconds / 1_000_000
                progress.end(.failed("body match: the search for /\(pattern)/ takes more than \(limit) ms"))
            }
        }
    }
}

/// Whose search it is: one check's searches are made one at a time, however many real servers it has.
struct SearchTurn: Hashable {
    var service: ServiceAddress?
    var patterns: [Pattern]
}
