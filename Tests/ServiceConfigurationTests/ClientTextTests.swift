import Addresses
import LoadBalancing
import ServiceConfiguration
import Testing

struct ClientTextTests {
    @Test(
        arguments: [
            ("10.0.0.1", "10.0.0.1/32", nil), ("10.0.0.1:65535", "10.0.0.1/32", 65535),
            ("10.0.0.0/8", "10.0.0.0/8", nil),
            ("127.0.0.1", "127.0.0.1/32", nil),
        ] as [(String, String, UInt16?)])
    func accepted(text: String, prefix: String, port: UInt16?) throws {
        let client = try AddressText.client(text)
        #expect(client.prefix.description == prefix && client.port == port)
    }

    @Test(arguments: [
        "", "10.0.0", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1/", "10.0.0.1/8", "10.0.0.0/33",
        "10.0.0.0/0",
        "10.0.0.1:80/tcp", "10.0.0.0/8:80",
    ])
    func refused(text: String) {
        #expect(throws: InvalidValue.self) { try AddressText.client(text) }
    }
}
