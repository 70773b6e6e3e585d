import Addresses
import DataPlane
import LoadBalancing
import Testing

@testable import Director

/// The events about doubts in the check path, and the packet counts at the start of questions.
struct CheckDoubtsTests {
    private let web = ServiceAddress(vip: IPAddress(0x0A00_0064), port: 80, transport: .tcp)
    private let mail = ServiceAddress(vip: IPAddress(0x0A00_0064), port: 25, transport: .tcp)
    private let start = ContinuousClock.now

    @Test("a service's doubt is published once, and again after a pause")
    func publishedOnce() {
        var doubts = CheckDoubts()
        #expect(doubts.note(1, of: [web], at: start) == [web])
        #expect(doubts.note(2, of: [web, mail], at: start) == [mail])
        doubts.dispel(1, of: [web])
        #expect(doubts.note(1, of: [web], at: start).isEmpty, "another round of it is in doubt still")
        doubts.dispel(1, of: [web])
        doubts.dispel(2, of: [web, mail])
        #expect(doubts.note(1, of: [web], at: start + .seconds(59)).isEmpty)
        doubts.dispel(1, of: [web])
        #expect(doubts.note(1, of: [web], at: start + .seconds(60)) == [web])
    }

    @Test("a question out of turn has counts of its own")
    func questions() {
        var doubts = CheckDoubts()
        let before = CheckTraffic(sent: 1, answered: 1, heard: 1)
        let later = CheckTraffic(sent: 2, answered: 1, heard: 1)
        doubts.begin(.init(round: 7), before: before)
        doubts.begin(.init(round: 7, isOutOfTurn: true), before: later)
        #expect(doubts.end(.init(round: 7)) == before)
        #expect(doubts.end(.init(round: 7)) == nil)
        doubts.forget([7])
        #expect(doubts.end(.init(round: 7, isOutOfTurn: true)) == nil)
    }

    @Test("wrong checksums count since the last look")
    func checksums() {
        var doubts = CheckDoubts()
        let looks = [5, 5, 6, nil, 7].map { doubts.hasChecksumErrors($0) }
        #expect(looks == [false, false, true, false, false])
    }

    @Test("counters of protocols are read as /proc/net/snmp has them")
    func protocolCounters() {
        let text = """
            Icmp: InMsgs InErrors InCsumErrors
            Icmp: 6 2 1
            Tcp: RtoAlgorithm MaxConn InErrs InCsumErrors
            Tcp: 1 -1 4 3
            """
        let counters = ProtocolCounters(Array(text.utf8))
        #expect(counters.sum(of: "InCsumErrors", in: ["Tcp", "Icmp"]) == 4)
        #expect(counters.sum(of: "InCsumErrors", in: ["Tcp", "Udp"]) == nil)
    }
}
