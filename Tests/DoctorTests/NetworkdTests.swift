import Addresses
import Testing

@testable import Doctor

struct NetworkdTests {
    @Test("globs match as networkd's")
    func globs() {
        for glob in ["*", "tunl*", "t?nl0", "*0", "tunl0"] { #expect(Networkd.matches("tunl0", glob), "\(glob)") }
        for glob in ["", "tun", "eth*", "?", "*1", "tunl0?"] { #expect(!Networkd.matches("tunl0", glob), "\(glob)") }
    }

    @Test("the first file that matches decides")
    func theFirstFileThatMatchesCounts() {
        let networkd = Networkd(
            networks: [
                ("10-wired.network", "[Match]\nName=eth* en*\n[Network]\nDHCP=yes\n"),
                ("20-virtual.network", "[Match]\nKind=veth\n"),
                ("30-by-mac.network", "[Match]\nMACAddress=02:00:00:00:00:01\n"),
                ("90-all.network", "# everything\n[Match]\nName = *\n"),
                ("91-tunnel.network", "[Match]\nName=tunl0\n"),
            ])
        #expect(networkd.network(of: "tunl0", kind: "ipip")?.path == "90-all.network")
        #expect(networkd.network(of: "eth0", kind: nil)?.path == "10-wired.network")
        #expect(networkd.network(of: "x", kind: "veth")?.path == "20-virtual.network")
    }

    @Test("listening sockets are read from /proc/net")
    func listeningSockets() {
        let header = "  sl  local_address rem_address   st\n"
        let tcp =
            header + "   0: 00000000:0050 00000000:0000 0A\n   1: 0B00000A:01BB 00000000:0000 0A\n"
            + "   2: 0B00000A:0050 0100000A:C000 01\n"
        #expect(
            ListeningSocket.parse(tcp, isUDP: false) == [
                ListeningSocket(address: nil, port: 80),
                ListeningSocket(address: IPAddress("10.0.0.11"), port: 443),
            ])
        let six =
            header + "   0: 00000000000000000000000000000000:0050 0:0 0A\n"
            + "   1: 0000000000000000FFFF00000B00000A:0051 0:0 0A\n   2: 00000000000000000000000001000000:0052 0:0 0A\n"
        #expect(
            ListeningSocket.parse(six, isUDP: false) == [
                ListeningSocket(address: nil, port: 80),
                ListeningSocket(address: IPAddress("10.0.0.11"), port: 81),
            ])
        #expect(
            ListeningSocket.parse(header + " 0: 00000000:0035 0:0 07\n", isUDP: true)
                == [ListeningSocket(address: nil, port: 53, isUDP: true)])
    }
}
