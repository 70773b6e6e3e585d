import CLinux
import DataPlane
import Glibc
import PacketPrograms
import TestSupport
import Testing

@testable import XDPDataPlane

/// Random packets and configurations, in the packet program and in a Swift model of it. IPVSD_SEED=n repeats the run
/// with that seed, and IPVSD_DIFFERENTIAL_PACKETS=1000000 makes it long.
@MainActor
@Suite(.serialized, .needsRoot)
struct DifferentialTests {
    private static let packetsOfARound = 10_000

    @Test("the packet program and the model treat each packet alike") func theProgramDoesWhatTheModelDoes() throws {
        let packets = try Self.number("IPVSD_DIFFERENTIAL_PACKETS") ?? 50_000
        let seed = try Self.number("IPVSD_SEED") ?? UInt64.random(in: 1...UInt64(UInt32.max))
        print("differential test: IPVSD_SEED=\(seed) IPVSD_DIFFERENTIAL_PACKETS=\(packets)")
        // The test stays on one CPU, so that per-CPU maps have a single value.
        try #require(clinux_stay_on_cpu(clinux_current_cpu()) == 0)
        defer { clinux_leave_cpu() }

        var totals = [UInt64](repeating: 0, count: Int(IPVSD_COUNTERS.rawValue))
        var (left, questions) = (Int(packets), 0)
        var round = 0
        while left > 0 {
            let run = try DifferentialRun(seed: seed, round: round)
            do {
                try run.run(packets: min(left, Self.packetsOfARound))
            } catch let difference as DifferentialRun.Difference {
                Issue.record("IPVSD_SEED=\(seed), round \(round), \(difference.description)")
                return
            }
            for index in totals.indices { totals[index] += run.totals[index] }
            questions += run.questions
            left -= Self.packetsOfARound
            round += 1
        }
        #expect(questions > Int(packets) / 50, "only \(questions) packets were explained")
        for counter in PacketCounter.all { print("  \(counter.name) \(totals[counter.index])") }
        // A long run moves every counter except impossible ones.
        if packets >= 250_000 {
            for counter in PacketCounter.all where counter.name != "dropped-internal" {
                #expect(totals[counter.index] > 0, "\(counter.name) never moved")
            }
        }
        #expect(totals[Int(IPVSD_DROPPED_INTERNAL.rawValue)] == 0)
    }

    private static func number(_ name: String) throws -> UInt64? {
        guard let text = getenv(name) else { return nil }
        let number: UInt64 = try #require(UInt64(String(cString: text)), "\(name) is a whole number")
        return number
    }
}
