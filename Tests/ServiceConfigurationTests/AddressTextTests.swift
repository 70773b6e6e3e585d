import Addresses
import LoadBalancing
import ServiceConfiguration
import Testing

struct AddressTextTests {
    /// Parses addresses that no host can have, as a packet's source can have any.
    @Test(
        "a packet's source can be any IPv4 address with a port",
        arguments: ["192.0.2.7:41234", "127.0.0.1:41234", "255.255.255.255:41234"])
    func sources(text: String) throws {
        let source = try AddressText.source(text)
        #expect("\(source.address):\(source.port)" == text)
    }

    @Test(
        "a packet's source without an IPv4 address or port is refused",
        arguments: [
            ("192.0.2.7", "192.0.2.7 has no port"), ("192.0.2.7:", "port '' is no port"),
            ("192.0.2.7:0", "port 0 is no port"), ("192.0.2.7:65536", "port 65536 is no port"),
            (":80", "'' is no IPv4 address"), ("192.0.2:80", "192.0.2 is no IPv4 address"),
            ("192.0.2.7:80/tcp", "port 80/tcp is no port"),
            ("fe80::1:80", "fe80::1 is an IPv6 address, and only IPv4 is accepted"),
            ("[fe80::1]:80", "fe80::1 is an IPv6 address, and only IPv4 is accepted"),
            ("[192.0.2.7]:80", "[192.0.2.7] is no IPv4 address"),
        ])
    func badSources(text: String, problem: String) {
        let error = #expect(throws: InvalidValue.self) { try AddressText.source(text) }
        #expect(error?.problem == problem)
    }
}

struct ClientTextTests {
    @Test(
        "a client is an address, an address with a port, or a prefix",
        arguments: [
            ("10.0.0.1", "10.0.0.1/32", nil), ("10.0.0.1:65535", "10.0.0.1/32", 65535),
            ("10.0.0.0/8", "10.0.0.0/8", nil),
            ("127.0.0.1", "127.0.0.1/32", nil),
        ] as [(String, String, UInt16?)])
    func accepted(text: String, prefix: String, port: UInt16?) throws {
        let client = try AddressText.client(text)
        #expect(client.prefix.description == prefix)
        #expect(client.port == port)
    }

    @Test(
        "a text that is no client is refused",
        arguments: [
            "", "10.0.0", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1/", "10.0.0.1/8", "10.0.0.0/33",
            "10.0.0.0/0",
            "10.0.0.1:80/tcp", "10.0.0.0/8:80",
        ])
    func refused(text: String) {
        #expect(throws: InvalidValue.self) { try AddressText.client(text) }
    }
}

struct AddressFileTests {
    @Test("a file's addresses are returned once, without comments and blanks")
    func addressesCommentsAndBlanks() throws {
        let text = "# VIPs\n10.0.0.100\n\n  10.0.0.101\t# web\r\n10.0.0.100\n#10.0.0.102\n10.0.0.103"
        #expect(
            try AddressFile.addresses(text, name: "f").map(\.description) == ["10.0.0.100", "10.0.0.101", "10.0.0.103"])
    }

    @Test("each bad line of an address file is an error")
    func everyBadLineIsTold() {
        let error = #expect(throws: ConfigurationErrors.self) {
            try AddressFile.addresses("10.0.0.100\n10.0.0\n\n127.0.0.1\n10.0.0.1 10.0.0.2\n", name: "vips")
        }
        #expect(error?.errors.map(\.place) == ["vips line 2", "vips line 4", "vips line 5"])
        #expect(
            error?.errors.first?.description == "vips line 2: 10.0.0 is no IPv4 address (accepted: one A.B.C.D a line)")
    }

    @Test("an address file without addresses is an error", arguments: ["", "# none\n", "\n\n"])
    func anEmptyFileIsAnError(text: String) {
        let error = #expect(throws: ConfigurationErrors.self) { try AddressFile.addresses(text, name: "vips") }
        #expect(error?.description == "vips: no address in it (accepted: one A.B.C.D a line)")
    }
}
