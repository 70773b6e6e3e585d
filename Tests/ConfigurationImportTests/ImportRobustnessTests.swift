import ConfigurationImport
import ServiceConfiguration
import TestSupport
import Testing

/// Imports of damaged sources. Each gives errors with places, or a configuration that `ipvsd check` accepts.
struct ImportRobustnessTests {
    private func check(_ text: String, _ lab: ImportLab = ImportLab()) {
        do throws(ConfigurationErrors) {
            let result = try lab.source.read(text, name: "in")
            guard let printed = result.text else {
                #expect(!result.isComplete, "\(text)")
                return
            }
            #expect(throws: Never.self, "\(text)\n\(printed)") { try ConfigurationFile.parse(printed, file: "out") }
        } catch {
            #expect(!error.errors.isEmpty, "\(error)")
            #expect(error.errors.allSatisfy { $0.place.hasPrefix("in") }, "\(error)")
        }
    }

    @Test("a source cut off anywhere gives an error or a good configuration")
    func cutOffSources() {
        for text in ImportFixtures.all {
            let bytes = Array(text.utf8)
            for length in stride(from: 0, to: bytes.count, by: 7) {
                check(String(decoding: bytes[..<length], as: UTF8.self))
            }
        }
    }

    @Test("a source with random changes gives an error or a good configuration")
    func changedSources() {
        var random = SplitMix(seed: 2014)
        let pieces: [[UInt8]] = [
            "{", "}", "\"", "'", "\\", "\n", " ", "!", "#", "$", "${X}", "@x ", "=", ":", "-", "/", "0", "99999999999",
            "\0",
            "\u{FEFF}", "é", "\u{2028}", "\t", "10.0.0.100", "[::1]:80", "-p", "-m", "weight 0", "quorum 9", "\u{1}",
            "%",
        ].map { Array($0.utf8) }
        for text in ImportFixtures.all {
            let bytes = Array(text.utf8)
            for _ in 0..<150 {
                var changed = bytes
                for _ in 0..<Int.random(in: 1...6, using: &random) {
                    let place = Int.random(in: 0..<changed.count, using: &random)
                    switch Int.random(in: 0..<4, using: &random) {
                    case 0: changed[place] = UInt8.random(in: 0...255, using: &random)
                    case 1: changed.insert(contentsOf: pieces.randomElement(using: &random) ?? [], at: place)
                    case 2:
                        changed.removeSubrange(
                            place..<min(changed.count, place + Int.random(in: 1...40, using: &random)))
                    default:
                        let end = min(changed.count, place + Int.random(in: 1...80, using: &random))
                        changed.insert(
                            contentsOf: changed[place..<end], at: Int.random(in: 0...changed.count, using: &random))
                    }
                    if changed.isEmpty { changed = [10] }
                }
                check(String(decoding: changed, as: UTF8.self))
            }
        }
    }

    /// Mixes lines of both formats at random. There are duplicates, wrong places and several services at one address.
    @Test("random lines of a source give an error or a good configuration")
    func mixedSources() {
        var random = SplitMix(seed: 1998)
        for fixture in [
            ImportFixtures.rules + ImportFixtures.foreignRules, ImportFixtures.farm + ImportFixtures.foreignKeepalived,
        ] {
            let lines = fixture.split(separator: "\n").map(String.init)
            for _ in 0..<150 {
                let chosen = (0..<Int.random(in: 1...30, using: &random)).map { _ in
                    lines.randomElement(using: &random) ?? ""
                }
                check(chosen.joined(separator: "\n"), ImportLab(format: .ipvsadm))
                check(chosen.joined(separator: "\n"), ImportLab(format: .keepalived, id: "x"))
            }
        }
    }
}
