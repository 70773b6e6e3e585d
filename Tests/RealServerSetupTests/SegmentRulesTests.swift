import Addresses
import HostState
import Testing

@testable import RealServerSetup

/// The output of nft(8) about the table. Tests/Namespaces/realserver.test.sh tests the rules.
struct SegmentRulesTests {
    private let vip = IPAddress(0x0A00_0064)

    @Test("a table that cannot be listed is not absent")
    func aTableThatCannotBeListedIsNotAbsent() {
        #expect(NFTables.isAbsence(.missing("nft")))
        for reason in [
            "nft failed (status 1): Error: No such file or directory",
            "nft failed (status 1): netlink: Error: cache initialization failed: Operation not supported",
        ] { #expect(NFTables.isAbsence(.failed(reason)), "\(reason)") }
        for reason in [
            "nft gave no answer within 10 s", "nft failed (status 9)",
            "nft failed (status 1): Error: cache initialization failed: Operation not permitted",
        ] { #expect(!NFTables.isAbsence(.failed(reason)), "\(reason)") }
    }

    @Test("a failed command's error has its first line of output")
    func whyACommandFailedIsTold() throws {
        let failure = #expect(throws: Command.Failure.self) {
            try Command.output("sh", ["-c", "echo no room >&2; echo at all >&2; exit 3"])
        }
        #expect("\(try #require(failure))" == "sh failed (status 3): no room")
        // The output is larger than a pipe.
        #expect(try Command.output("sh", ["-c", "head -c 200000 /dev/zero >&2; echo done"]) == "done\n")
    }

    private func presence(_ text: String) throws -> SegmentRules.Presence {
        SegmentRules.presence(try #require(JSON("[\(text)]")?.array))
    }

    private let set = #"{"set":{"family":"ip","name":"vips","table":"ipvsd","type":"ipv4_addr","elem":["10.0.0.100"]}}"#
    private let chains =
        #"{"chain":{"name":"postrouting","hook":"postrouting","prio":101}},{"chain":{"name":"lower","handle":2}}"#
    private let jump = #"{"rule":{"chain":"postrouting","expr":[{"match":{}},{"jump":{"target":"lower"}}]}}"#
    private let limit =
        #"{"rule":{"chain":"lower","expr":[{"match":{"op":"==","left":{"rt":{"key":"mtu"}},"right":{"range":[1441,1460]}}},{"mangle":{"key":{"tcp option":{"name":"maxseg","field":"size"}},"value":1440}}]}}"#

    @Test("the rules are read from nft's JSON")
    func whatNFTSaysIsRead() throws {
        let expected = SegmentRules(vips: [vip], limits: [.init(range: 1441...1460, size: 1440)])
        #expect(try presence([set, chains, jump, limit].joined(separator: ",")) == .rules(expected))
        #expect(expected.cover(expected))
        #expect(SegmentRules.Limit(mtu: 1500) == expected.limits.first)
        #expect(SegmentRules.Limit(mtu: 65_536) == nil)
        #expect(SegmentRules.Limit(mtu: 100) == nil)
    }

    @Test("damaged rules have no limits")
    func whatIsDamagedLimitsNothing() throws {
        let without = SegmentRules(vips: [vip], limits: [])
        #expect(try presence([set, chains, limit].joined(separator: ",")) == .rules(without))
        let early = chains.replacing("101", with: "0")
        #expect(try presence([set, early, jump, limit].joined(separator: ",")) == .rules(without))
        #expect(try presence([set, chains, jump].joined(separator: ",")) == .rules(without))
    }

    @Test("another program's table is foreign")
    func othersAreToldApart() throws {
        #expect(try presence(#"{"chain":{"name":"mine"}}"#) == .foreign)
        #expect(try presence(#"{"set":{"name":"mine"}}"#) == .foreign)
    }

    @Test("the smallest limit of an MTU decides")
    func theSmallestLimitThatAppliesCounts() {
        let limits = [1500, 1490, 9000].compactMap { SegmentRules.Limit(mtu: $0) }
        let rules = SegmentRules(vips: [vip], limits: Set(limits))
        #expect(rules.lowered(1460, from: vip, mtu: 1500) == 1440)
        #expect(rules.lowered(8960, from: vip, mtu: 9000) == 8940)
        // The limits of 1500 and of 1490 apply.
        #expect(rules.lowered(1450, from: vip, mtu: 1490) == 1430)
        #expect(rules.lowered(1360, from: vip, mtu: 1400) == 1360)
        #expect(rules.lowered(1460, from: IPAddress(1), mtu: 1500) == 1460)
        let fixed = SegmentRules(vips: [vip], limits: [.init(range: nil, size: 1300)])
        #expect(fixed.lowered(8960, from: vip, mtu: 9000) == 1300)
        #expect(!fixed.cover(rules))
        #expect(!rules.cover(fixed))
        #expect(rules.cover(SegmentRules(vips: [], limits: [limits[0]])))
    }
}
