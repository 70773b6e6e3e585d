import HealthChecks
import LoadBalancing
import Testing

/// Which half of a check failed.
struct DiagnosisTests {
    private let server = IPv4Address(0x0A00_0001)

    @Test func success() {
        #expect(Diagnosis.result(tunnel: .success, direct: nil, server: server) == .success)
        #expect(Diagnosis.result(tunnel: .success, direct: .failure("no"), server: server) == .success)
    }

    @Test func refusedThroughTheTunnel() {
        for direct in [nil, ProbeResult.success, .failure("b")] {
            let result = Diagnosis.result(tunnel: .failure("a", hostAnswered: true), direct: direct, server: server)
            #expect(result == .failure("a: the tunnel works, the service does not", hostAnswered: true))
        }
    }

    @Test func notAskedDirectly() {
        #expect(Diagnosis.result(tunnel: .failure("a"), direct: nil, server: server) == .failure("a"))
    }

    @Test func tunnelIsBroken() {
        let result = Diagnosis.result(tunnel: .failure("a"), direct: .success, server: server)
        #expect(
            result
                == .failure(
                    "a, but 10.0.0.1 itself answers: the tunnel is the broken half "
                        + "(tunl0, its VIP or rp_filter on the real server)"))
    }

    @Test func bothFail() {
        #expect(
            Diagnosis.result(tunnel: .failure("a"), direct: .failure("b"), server: server)
                == .failure("a; b: the host does not answer"))
        #expect(
            Diagnosis.result(tunnel: .failure("a"), direct: .failure("b", hostAnswered: true), server: server)
                == .failure("a; b: the host is up, the tunnel or the service is not"))
    }
}
