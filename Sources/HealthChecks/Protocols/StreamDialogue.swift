/// A conversation over a byte stream, apart from the stream: what comes in, what is to be sent, when it is decided.
protocol StreamDialogue {
    /// What is being waited for.
    var stage: CheckStage { get }

    /// The stream is there; what is to be said first.
    mutating func open() -> StreamStep
    mutating func receive(_ bytes: [UInt8]) -> StreamStep
}

enum StreamStep: Hashable {
    case wait
    case send([UInt8])
    case end(Outcome)
}

/// What a protocol makes of a peer.
enum Outcome: Hashable {
    case passed
    case failed(String)
}

/// Being there is all that is asked of the peer.
struct SilentDialogue: StreamDialogue {
    var stage: CheckStage { .connect }
    mutating func open() -> StreamStep { .end(.passed) }
    mutating func receive(_ bytes: [UInt8]) -> StreamStep { .wait }
}
