import DataPlane
import HealthChecks
import Testing

@testable import Director

/// The doubts in the check path that packet counts prove.
struct CheckPathDoubtTests {
    private let silence = CheckVerdict.Failure(stage: .connect, reason: "timed out")
    private let refusal = CheckVerdict.Failure(stage: .connect, reason: "refused", hostAnswered: true)

    private func doubt(
        _ before: (sent: UInt32, answered: UInt32, heard: UInt32?), _ after: (UInt32, UInt32, UInt32?),
        _ failure: CheckVerdict.Failure, isShared: Bool = false
    ) -> CheckPathDoubt? {
        CheckPathDoubt(
            from: CheckTraffic(sent: before.sent, answered: before.answered, heard: before.heard),
            to: CheckTraffic(sent: after.0, answered: after.1, heard: after.2), failure, isShared: isShared)
    }

    @Test("a question that did not leave is this machine's fault, even if something refuses")
    func lostQuestion() {
        #expect(doubt((4, 4, 4), (4, 4, 4), silence) == .questionLost)
        #expect(doubt((4, 4, 4), (4, 4, 4), refusal) == .questionLost)
    }

    @Test("a question without an answer is the real server's fault")
    func silentServer() {
        #expect(doubt((4, 4, 4), (5, 4, 4), silence) == nil)
        #expect(doubt((4, 4, nil), (5, 4, nil), silence) == nil)
        // Only an earlier check's answer was lost.
        #expect(doubt((4, 3, 2), (5, 3, 2), silence) == nil)
    }

    @Test("an answer that no socket acknowledged was lost here")
    func lostAnswer() {
        #expect(doubt((4, 4, 4), (5, 5, 4), silence) == .answerLost)
        #expect(doubt((4, 4, nil), (5, 5, nil), silence) == .answerLost)
        #expect(doubt((.max, .max, .max), (0, 0, .max), silence) == .answerLost)
    }

    @Test("an answer that may have been another check's proves nothing")
    func answersOfOthers() {
        #expect(doubt((4, 4, 4), (6, 5, 5), silence) == nil)
        #expect(doubt((4, 4, nil), (6, 5, nil), silence, isShared: true) == nil)
    }

    @Test("a refusal that the socket got is the real server's")
    func heardRefusal() { #expect(doubt((4, 4, 4), (5, 5, 4), refusal) == nil) }
}
