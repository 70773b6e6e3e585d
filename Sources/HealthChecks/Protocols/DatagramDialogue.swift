/// A question in one datagram.
protocol DatagramDialogue {
    var datagram: [UInt8] { get }
    /// nil: it does not belong to the question, and the answer may yet come.
    func judge(_ bytes: [UInt8]) -> Outcome?
    /// What no answer until the deadline means.
    var silence: Outcome? { get }
}

extension DatagramDialogue {
    var silence: Outcome? { nil }
}
