import Addresses
import Processes
import Testing

@testable import HealthChecks

/// The judgement of certificates, scripts, weights, datagrams, and of both ways together.
struct VerdictTests {
    private let server = IPAddress(0x0A00_0001)

    @Test("a certificate is judged by its validity")
    func certificates() {
        let validity = CertificateValidity(from: 1_000, until: 1_000_000)
        #expect(validity.judge(now: 1_000, atLeast: .zero) == .passed)
        #expect(validity.judge(now: 1_000_000, atLeast: .zero) == .passed)
        #expect(validity.judge(now: 1_000_001, atLeast: .zero) == .failed("certificate expired 1 second ago"))
        #expect(
            validity.judge(now: 1_000_000 + 86_400 * 3, atLeast: .zero) == .failed("certificate expired 3 days ago"))
        #expect(
            validity.judge(now: 999, atLeast: .zero) == .failed("certificate is not valid before 1 second from now"))
        let week = Duration.seconds(7 * 86_400)
        #expect(
            validity.judge(now: 1_000_000 - 3 * 86_400, atLeast: week)
                == .failed("certificate expires in 3 days, expected 7 days at least"))
        #expect(validity.judge(now: 1_000_000 - 7 * 86_400, atLeast: week) == .passed)
    }

    @Test("a weight is a number from 0 to 65535")
    func weights() {
        #expect(WeightText.parse("0") == 0)
        #expect(WeightText.parse(" 65535\r\n") == 65_535)
        for text in ["", " ", "65536", "-1", "+1", "1.5", "1 2", "x", "000001", "١"] {
            #expect(WeightText.parse(text) == nil, "\(text)")
        }
    }

    @Test("a script is judged by its exit code, output and signal")
    func scripts() {
        func judge(_ ending: ChildProcess.Ending, _ output: String = "", _ errors: String = "") -> String {
            let outcome = ChildProcess.Outcome(ending: ending, output: Array(output.utf8), errors: Array(errors.utf8))
            switch outcome.judgement {
            case .success(let weight): return weight.map { "weight \($0)" } ?? "passed"
            case .failure(let failure): return failure.reason
            }
        }
        #expect(judge(.exited(0)) == "passed")
        #expect(judge(.exited(0), "all is well") == "passed")
        #expect(judge(.exited(0), "70\nand more") == "weight 70")
        #expect(judge(.exited(0), "70000") == "passed")
        #expect(judge(.exited(2), "70") == "exit code 2: 70")
        #expect(judge(.exited(2), "out", "err\nmore") == "exit code 2: err")
        #expect(judge(.exited(1)) == "exit code 1")
        #expect(judge(.signalled(11), "\u{1B}[1mred") == "killed by signal 11: [1mred")
    }

    @Test("texts of servers and programs become one line without control characters")
    func whatOthersSaidIsOneLineWithoutControlCharacters() {
        let said = "no\n\u{1B}[2Jok\u{9B}1m"
        let shown = #"no\n\u001b[2Jok\u009b1m"#
        #expect(CheckVerdict.Failure(stage: .answer, reason: said).reason == shown)
        #expect(CheckVerdict.Pass(latency: .zero, note: said).note == shown)
    }

    @Test("an impossible script or file is refused")
    func scriptsAndFilesThatCannotBe() {
        for arguments in [[], [""], ["bin/true"], ["/bin/echo", "a\0b"]] {
            #expect(throws: InvalidCheck.self) { try ScriptCheck(arguments: arguments) }
        }
        for name in ["", "A=B", "A\0"] {
            #expect(throws: InvalidCheck.self) { try ScriptCheck(arguments: ["/bin/true"], environment: [name: "1"]) }
        }
        #expect(throws: InvalidCheck.self) { try FileCheck(path: "weight") }
    }

    @Test("no option can add a second request")
    func wording() {
        for check in [
            HTTPCheck(port: 80, method: "GET /"), HTTPCheck(port: 80, method: ""), HTTPCheck(port: 80, path: "x"),
            HTTPCheck(port: 80, path: "/ HTTP/1.1\r\n\r\n"), HTTPCheck(port: 80, host: "a b"),
            HTTPCheck(port: 80, host: ""), HTTPCheck(port: 80, fields: [.init("X Y", "z")]),
            HTTPCheck(port: 80, fields: [.init("X", "y\r\nZ: 1")]), HTTPCheck(port: 80, status: []),
            HTTPCheck(port: 80, body: [.sha256([1])]),
        ] {
            #expect(Check.http(check).problem != nil, "\(check)")
        }
        #expect(Check.smtp(SMTPCheck(helo: "a\r\nMAIL")).problem != nil)
        #expect(Check.grpc(GRPCHealthCheck(port: 1, authority: "")).problem != nil)
        for check in [
            Check.http(HTTPCheck(port: 80, path: "/a?b=c%20d", host: "w.example", fields: [.init("X-Y", "a b\tc")])),
            .smtp(SMTPCheck()), .grpc(GRPCHealthCheck(port: 1)), .echo(EchoCheck()),
        ] {
            #expect(check.problem == nil, "\(check)")
        }
    }

    @Test("a datagram is compared with the expected reply")
    func datagrams() {
        func judge(_ reply: UDPCheck.Reply, _ bytes: [UInt8]) -> Outcome? {
            UDPDialogue(check: UDPCheck(port: 1, payload: [], reply: reply)).judge(bytes)
        }
        #expect(judge(.any, []) == .passed)
        #expect(judge(.equals([1]), [1]) == .passed)
        #expect(judge(.startsWith([1]), [1, 2]) == .passed)
        #expect(judge(.equals([1]), [1, 2]) == .failed("answer 0x0102, expected 0x01"))
        #expect(
            judge(.startsWith(Array("ab".utf8)), Array("ba".utf8))
                == .failed("answer \"ba\", expected \"ab\" at its start"))
        #expect(UDPDialogue(check: UDPCheck(port: 1, payload: [], reply: .optional)).silence == .passed)
        #expect(UDPDialogue(check: UDPCheck(port: 1, payload: [])).silence == nil)
    }

    @Test("a duration has up to three decimals")
    func durations() {
        #expect(Duration.milliseconds(700).seconds == "0.7 s")
        #expect(Duration.seconds(2).seconds == "2 s")
        #expect(Duration.milliseconds(1_050).seconds == "1.05 s")
        #expect(Duration.milliseconds(5).seconds == "0.005 s")
    }

    @Test("equal checks are equal keys")
    func equalChecksAreOne() {
        let check = Check.http(HTTPCheck(port: 80, path: "/h"))
        #expect(
            Set([check, .http(HTTPCheck(port: 80, path: "/h")), .http(HTTPCheck(port: 80, path: "/i"))]).count == 2)
        #expect(check.description == "http:80/h")
    }

    @Test("the tunnel decides, and the direct way names the broken half")
    func bothWays() {
        let passed = CheckVerdict.passed(.init(latency: .seconds(1)))
        let silent = CheckVerdict.failed(.init(stage: .connect, reason: "a"))
        let refused = CheckVerdict.failed(.init(stage: .connect, reason: "b", hostAnswered: true))
        let own = CheckVerdict.failed(.init(stage: .start, reason: "c", isOwn: true))
        func verdict(_ tunnel: CheckVerdict, _ direct: CheckVerdict) -> (isPassed: Bool, String) {
            switch Checker.verdict(tunnel: tunnel, direct: direct, server: server) {
            case .passed(let pass): (true, pass.note ?? "")
            case .failed(let failure): (false, failure.reason)
            }
        }
        #expect(verdict(passed, passed) == (true, ""))
        #expect(verdict(passed, silent) == (true, "it does not answer at 10.0.0.1 itself: a"))
        #expect(
            verdict(silent, passed)
                == (false, "a: service answers, decapsulation dead (tunl0, its VIP or rp_filter on 10.0.0.1)"))
        #expect(
            verdict(refused, passed)
                == (false, "b: the tunnel works, the service is dead on the VIP (but not on 10.0.0.1)"))
        #expect(verdict(refused, refused) == (false, "b: the tunnel works, the service does not"))
        #expect(verdict(refused, silent) == (false, "b: the tunnel works, the service does not"))
        #expect(
            verdict(silent, refused)
                == (false, "a; 10.0.0.1 itself: b: the host is up, the tunnel or the service is not"))
        #expect(verdict(silent, silent) == (false, "a; 10.0.0.1 itself: a: the host does not answer"))
        // A check that this machine could not run proves nothing about either way.
        for other in [passed, silent, refused] {
            #expect(Checker.verdict(tunnel: own, direct: other, server: server) == own)
            #expect(Checker.verdict(tunnel: other, direct: own, server: server) == other)
        }
        // Only the tunnel's answer decides whether the host answered.
        for (tunnel, answered) in [(silent, false), (refused, true)] {
            guard case .failed(let failure) = Checker.verdict(tunnel: tunnel, direct: refused, server: server) else {
                Issue.record("no failure")
                continue
            }
            #expect(failure.hostAnswered == answered)
        }
    }
}
