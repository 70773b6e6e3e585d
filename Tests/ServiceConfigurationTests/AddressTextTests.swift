import LoadBalancing
import ServiceConfiguration
import Testing

struct AddressTextTests {
    /// Where packets come from may be what no host has.
    @Test(arguments: ["192.0.2.7:41234", "127.0.0.1:41234", "255.255.255.255:41234"]) func sources(text: String) throws
    {
        let source = try AddressText.source(text)
        #expect("\(source.address):\(source.port)" == text)
    }

    @Test(arguments: [
        ("192.0.2.7", "192.0.2.7 has no port"), ("192.0.2.7:", "port '' is no port"),
        ("192.0.2.7:0", "port 0 is no port"), ("192.0.2.7:65536", "port 65536 is no port"),
        (":80", "'' is no IPv4 address"), ("192.0.2:80", "192.0.2 is no IPv4 address"),
        ("192.0.2.7:80/tcp", "port 80/tcp is no port"),
        ("fe80::1:80", "fe80::1 is an IPv6 address, and only IPv4 is accepted"),
        ("[fe80::1]:80", "fe80::1 is an IPv6 address, and only IPv4 is accepted"),
        ("[192.0.2.7]:80", "[192.0.2.7] is no IPv4 address"),
    ]) func badSources(text: String, problem: String) {
        let error = #expect(throws: InvalidValue.self) { try AddressText.source(text) }
        #expect(error?.problem == problem)
    }
}
