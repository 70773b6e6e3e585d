import Testing

@testable import HealthChecks

/// The test vectors of FIPS 180-4's examples and NIST's CAVP.
struct SHA256Tests {
    static func digest(of text: String) -> [UInt8] {
        var hash = SHA256()
        hash.update(Array(text.utf8))
        return hash.finish()
    }

    private func hex(_ bytes: [UInt8]) -> String { DNSRecordData(hex: bytes[...]).text }

    @Test(
        "the test vectors of FIPS 180-4 and NIST have their digests",
        arguments: [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
            ),
            (
                "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
                "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"
            ),
        ])
    func vectors(text: String, digest: String) {
        #expect(hex(Self.digest(of: text)) == digest)
    }

    @Test("a million bytes in pieces have their digest")
    func aMillion() {
        var hash = SHA256()
        for _ in 0..<1_000 { hash.update([UInt8](repeating: 0x61, count: 1_000)) }
        #expect(hex(hash.finish()) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }

    @Test("pieces of one byte have the same digest")
    func pieces() {
        let text = String(repeating: "0123456789", count: 20)
        for length in 55...130 {
            var hash = SHA256()
            for byte in text.utf8.prefix(length) { hash.update([byte]) }
            #expect(hash.finish() == Self.digest(of: String(text.prefix(length))), "\(length)")
        }
    }
}
