/// Lets one caller at a time pass, in the order in which they came. It belongs to one actor.
struct WaitingLine {
    private var isTaken = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    /// Resumes the caller when it is its turn, which ends with `leave()`.
    mutating func enter(_ caller: CheckedContinuation<Void, Never>) {
        if isTaken {
            waiting.append(caller)
        } else {
            isTaken = true
            caller.resume()
        }
    }

    /// Ends the turn of the caller that was let pass last, and lets the next one pass.
    mutating func leave() {
        if waiting.isEmpty {
            isTaken = false
        } else {
            waiting.removeFirst().resume()
        }
    }
}
