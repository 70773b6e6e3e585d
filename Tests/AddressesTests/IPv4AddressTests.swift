import Addresses
import Testing

/// Dotted decimal in its strict form, the byte order, and unicast addresses.
struct IPv4AddressTests {
    @Test("dotted decimal returns unchanged", arguments: ["0.0.0.0", "10.0.0.1", "192.168.1.254", "255.255.255.255"])
    func textReturnsUnchanged(text: String) {
        #expect(IPv4Address(text)?.description == text)
    }

    @Test(
        "other forms are refused",
        arguments: [
            "", "10", "10.0.0", "10.0.0.0.1", "10.0.0.256", "10.0.0.01", "010.0.0.1", "10.0.0.+1", "10.0.0.-1",
            "10..0.1",
            " 10.0.0.1", "10.0.0.1 ", "0x0a.0.0.1", "10.0.0.1000", "fd00::1", "10.0.0.é",
        ])
    func otherFormsAreRefused(text: String) {
        #expect(IPv4Address(text) == nil)
    }

    @Test("the byte order is the host's, and bigEndian the wire's")
    func byteOrder() {
        let address = IPv4Address(0x0a00_0001)
        #expect(address.description == "10.0.0.1")
        #expect(IPv4Address(bigEndian: address.bigEndian) == address)
        #expect(withUnsafeBytes(of: address.bigEndian) { Array($0) } == [10, 0, 0, 1])
    }

    @Test("only a host's address is unicast")
    func onlyHostsAddressesAreUnicast() {
        let unicast = ["1.0.0.0", "10.0.0.1", "126.255.255.255", "128.0.0.0", "223.255.255.255"]
        let others = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"]
        #expect(unicast.allSatisfy { IPv4Address($0)?.isUnicast == true })
        #expect(others.allSatisfy { IPv4Address($0)?.isUnicast == false })
    }
}
