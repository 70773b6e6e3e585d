import Addresses
import Testing

@testable import ServiceConfiguration

/// The places of addresses, for errors at a director's start.
struct WrittenPlacesTests {
    @Test("a file's addresses are known by their lines")
    func ofAFile() throws {
        let text = """
            defaults: {sorry-server: 10.0.0.99}
            services:
            - listeners: 10.0.0.100:80
              servers: [10.0.0.11=2]
            - listeners:
              - 10.0.0.101
              servers:
              - {address: 10.0.0.12, weight: 2}
              - 10.0.0.11
            """
        let configuration = try ConfigurationFile.parse(text, file: "f.yaml")
        let places = configuration.places
        #expect(places.ofVIP(try #require(IPAddress("10.0.0.100"))) == "f.yaml:3: listeners 10.0.0.100:80")
        #expect(places.ofVIP(try #require(IPAddress("10.0.0.101"))) == "f.yaml:6: listeners 10.0.0.101")
        #expect(places.ofServer(try #require(IPAddress("10.0.0.11"))) == "f.yaml:4: servers 10.0.0.11=2")
        #expect(places.ofServer(try #require(IPAddress("10.0.0.12"))) == "f.yaml:8: servers 10.0.0.12")
        #expect(places.ofServer(try #require(IPAddress("10.0.0.99"))) == "f.yaml:1: sorry-server 10.0.0.99")
        // The same configuration, a line further down.
        #expect(try ConfigurationFile.parse("# moved\n" + text, file: "f.yaml") == configuration)
    }

    @Test("addresses of the command line are known by their flags")
    func ofFlags() throws {
        let places = WrittenPlaces()
        #expect(places.ofVIP(try #require(IPAddress("10.0.0.100"))) == "--vip 10.0.0.100")
        #expect(places.ofServer(try #require(IPAddress("10.0.0.11"))) == "--backends 10.0.0.11")
    }
}
