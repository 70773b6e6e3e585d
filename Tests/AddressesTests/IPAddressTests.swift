import Addresses
import Foundation
import Testing

/// The text forms of RFC 4291 and RFC 5952, the order, and the difference of the families.
struct IPAddressTests {
    @Test(
        "text in the form of RFC 5952 returns unchanged",
        arguments: [
            "::", "::1", "1::", "fe80::1", "2001:db8::1", "2001:db8:0:1:1:1:1:1", "2001:0:0:1::1", "2001:db8::1:0:0:1",
            "1:2:3:4:5:6:7:8", "::ffff:192.0.2.1", "::1:2", "ff02::2", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ])
    func canonicalTextReturnsUnchanged(text: String) {
        #expect(IPv6Address(text)?.description == text)
        #expect(IPAddress(text)?.description == text)
        #expect(IPAddress(text)?.family == .v6)
    }

    @Test(
        "other forms of RFC 4291 are read",
        arguments: [
            ("2001:DB8:0:0:8:800:200C:417A", "2001:db8::8:800:200c:417a"), ("FF01:0:0:0:0:0:0:101", "ff01::101"),
            ("0:0:0:0:0:0:0:1", "::1"), ("0:0:0:0:0:0:0:0", "::"), ("0:0:0:0:0:0:13.1.68.3", "::d01:4403"),
            ("0:0:0:0:0:FFFF:129.144.52.38", "::ffff:129.144.52.38"), ("::13.1.68.3", "::d01:4403"),
            ("2001:0db8::0001", "2001:db8::1"), ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"), ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"),
            ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"), ("64:ff9b::192.0.2.33", "64:ff9b::c000:221"),
        ])
    func otherFormsAreRead(text: String, canonical: String) {
        #expect(IPv6Address(text)?.description == canonical)
    }

    @Test(
        "text of neither family is refused",
        arguments: [
            "", ":", ":::", "1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8",
            "1::2::3", "::1::", "12345::", "g::", "::1%eth0", "::1/64", "[::1]", " ::1", "::1 ", ":1::", "1::2:",
            "::+1",
            "::-1", "::1.2.3", "::1.2.3.256", "::1.2.3.04", "1.2.3.4::", "1.2.3.4::1", "::-0", "1:2:3:4:5:6:7:1.2.3.4",
            "::1.2.3.4:5", "::é",
            "1::2.3.4.5::", "::1.2.3.4.5", "1.2.3.4:1::", "::1:",
        ])
    func otherTextIsRefused(text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test("an IPv4 address has the text, the bytes and the properties that it has alone")
    func ipv4Unchanged() throws {
        let address = try #require(IPAddress("10.0.0.1"))
        #expect(address == .v4(IPv4Address(0x0a00_0001)))
        #expect(address.description == "10.0.0.1")
        #expect(address.bytes == [10, 0, 0, 1])
        #expect(address.isUnicast)
        #expect(!address.isLoopback)
        #expect(address.v6 == nil)
        #expect(try address.asIPv4() == IPv4Address(0x0a00_0001))
    }

    @Test("bytes in wire order return the address", arguments: ["0.0.0.0", "192.0.2.1", "::", "2001:db8::ff:1"])
    func bytes(text: String) throws {
        let address = try #require(IPAddress(text))
        #expect(IPAddress(bytes: address.bytes) == address)
    }

    @Test("other counts of bytes are no address", arguments: [0, 1, 3, 5, 15, 17])
    func otherCounts(count: Int) {
        #expect(IPAddress(bytes: Array(repeating: 1, count: count)) == nil)
    }

    @Test("IPv4 comes before IPv6, and numbers decide within a family")
    func order() {
        let ordered = ["0.0.0.0", "9.0.0.0", "10.0.0.1", "255.255.255.255", "::", "::1", "2001:db8::", "fe80::1"]
        let addresses = ordered.compactMap(IPAddress.init)
        #expect(addresses.shuffled().sorted().map(\.description) == ordered)
    }

    @Test("an IPv4-mapped address is no IPv4 address")
    func mapped() {
        #expect(IPAddress("::ffff:10.0.0.1") != IPAddress("10.0.0.1"))
        #expect(IPAddress("::ffff:10.0.0.1")?.v4 == nil)
    }

    @Test("only a host's address is unicast")
    func unicast() {
        #expect(["10.0.0.1", "fe80::1", "2001:db8::1"].allSatisfy { IPAddress($0)?.isUnicast == true })
        #expect(
            ["0.0.0.0", "127.0.0.1", "224.0.0.1", "::", "::1", "ff02::1"].allSatisfy {
                IPAddress($0)?.isUnicast == false
            })
        #expect(["127.1.2.3", "::1"].allSatisfy { IPAddress($0)?.isLoopback == true })
        #expect(["0.0.0.0", "::"].allSatisfy { IPAddress($0)?.isUnspecified == true })
    }

    @Test("JSON has the text, and refuses other text")
    func json() throws {
        let addresses = ["10.0.0.1", "2001:db8::1"].compactMap(IPAddress.init)
        let json = Data(#"["10.0.0.1","2001:db8::1"]"#.utf8)
        #expect(try JSONEncoder().encode(addresses) == json)
        #expect(try JSONDecoder().decode([IPAddress].self, from: json) == addresses)
        #expect(throws: DecodingError.self) {
            try JSONDecoder().decode([IPAddress].self, from: Data(#"["10.0.0.256"]"#.utf8))
        }
    }

    @Test("what handles only IPv4 refuses IPv6 by name")
    func wrongFamily() throws {
        let address = try #require(IPAddress("2001:db8::1"))
        #expect(throws: WrongFamily(address, accepted: .v4)) { try address.asIPv4() }
        #expect(
            WrongFamily(address, accepted: .v4).description
                == "2001:db8::1 is an IPv6 address, and only IPv4 is accepted")
    }
}

/// Prefixes of both families: their text and their bounds.
struct IPPrefixTests {
    @Test(
        "text returns unchanged",
        arguments: ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.1/32", "::/0", "2001:db8::/32", "2001:db8::1/128"])
    func textReturnsUnchanged(text: String) {
        #expect(IPPrefix(text)?.description == text)
    }

    @Test(
        "other text is refused",
        arguments: [
            "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/08", "10.0.0.0", "10.0.0.0/",
            "2001:db8::1/64", "::/129", "/8", "10.0.0.0/8/8",
        ])
    func otherTextIsRefused(text: String) {
        #expect(IPPrefix(text) == nil)
    }

    @Test(
        "a prefix goes from its first address to its last",
        arguments: [
            ("10.1.0.0/16", "10.1.0.0", "10.1.255.255"), ("10.0.0.1/32", "10.0.0.1", "10.0.0.1"),
            ("0.0.0.0/0", "0.0.0.0", "255.255.255.255"), ("2001:db8::/127", "2001:db8::", "2001:db8::1"),
            ("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ])
    func bounds(text: String, first: String, last: String) throws {
        let prefix = try #require(IPPrefix(text))
        #expect(prefix.addresses.lowerBound.description == first)
        #expect(prefix.addresses.upperBound.description == last)
        #expect(prefix.contains(prefix.addresses.lowerBound))
        #expect(prefix.contains(prefix.addresses.upperBound))
    }

    @Test("an address of the other family is in no prefix")
    func otherFamily() throws {
        #expect(try #require(IPPrefix("0.0.0.0/0")).contains(.v6(IPv6Address(high: 0, low: 1))) == false)
        #expect(try #require(IPPrefix("::/0")).contains(.v4(IPv4Address(1))) == false)
    }

    @Test("the prefix around an address leaves the bits behind it out")
    func around() throws {
        let address = try #require(IPAddress("2001:db8:1:2:3::4"))
        #expect(IPPrefix(around: address, length: 48)?.description == "2001:db8:1::/48")
        #expect(IPPrefix(around: address, length: 129) == nil)
        #expect(IPPrefix(address, length: 48) == nil)
    }
}
