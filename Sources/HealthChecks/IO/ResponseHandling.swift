internal import NIOCore
internal import NIOPosix

/// Puts a response's parts before its judge.
final class ResponseHandling {
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
        case .search(let text, let patterns): search(text, for: patterns)
        }
    }

    /// In a thread of its own: an event loop has other checks to serve.
    private func search(_ text: String, for patterns: [Pattern]) {
        progress.releasePeer()
        let bound = NIOLoopBound(progress, eventLoop: progress.eventLoop)
        NIOThreadPool.singleton.runIfActive(eventLoop: progress.eventLoop) {
            patterns.first { !$0.isFound(in: text) }
        }.whenComplete { result in
            switch result {
            case .success(nil): bound.value.pass()
            case .success(let pattern?): bound.value.end(.failed("body does not match /\(pattern)/"))
            case .failure(let error): bound.value.end(.failed("body match: \(error)"))
            }
        }
    }
}
