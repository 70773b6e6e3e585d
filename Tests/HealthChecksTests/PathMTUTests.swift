import Addresses
import CLinux
import Glibc
import NIOCore
import NIOPosix
import Testing

@testable import HealthChecks

/// The search for the path MTU: without packets, and with routers in network namespaces.
struct PathMTUTests {
    /// Runs a search on a path that passes packets of up to `mtu` bytes. For a larger size, `reports` returns the MTU
    /// that a router reports. Without `reports`, larger packets vanish.
    private func walk(full: Int, mtu: Int, reports: ((Int) -> Int?)? = nil) -> (PathMTUSearch.Result, sent: Int) {
        var search = PathMTUSearch(full: full)
        var action = search.first
        for sent in 0..<200 {
            switch action {
            case .end(let result): return (result, sent)
            case .send(let size):
                action =
                    size <= mtu ? search.answered() : reports.map { search.tooBig(limit: $0(size)) } ?? search.silent()
            }
        }
        Issue.record("no end")
        return (.unreachable(limit: nil), 200)
    }

    @Test("the search finds the MTU of every path")
    func everyPath() {
        #expect(walk(full: 1480, mtu: 9000) == (.passes(1480, isReported: false), 1))
        for mtu in [0, 67] { #expect(walk(full: 1480, mtu: mtu).0 == .unreachable(limit: nil)) }
        for mtu in 68..<1480 {
            let silent = walk(full: 1480, mtu: mtu)
            #expect(silent.0 == .passes(mtu, isReported: false), "\(mtu)")
            #expect(silent.sent <= 40, "\(mtu)")
            let reported = walk(full: 1480, mtu: mtu) { _ in mtu }
            #expect(reported.0 == .passes(mtu, isReported: true), "\(mtu)")
            #expect(reported.sent == 2, "\(mtu)")
            // The first router is older than RFC 1191, and reports no MTU. The second one reports the packet's own
            // size.
            #expect(walk(full: 1480, mtu: mtu) { _ in nil }.0 == .passes(mtu, isReported: true), "\(mtu)")
            #expect(walk(full: 1480, mtu: mtu) { $0 }.0 == .passes(mtu, isReported: true), "\(mtu)")
        }
        #expect(walk(full: 68, mtu: 68).0 == .passes(68, isReported: false))
        #expect(walk(full: 68, mtu: 67).0 == .unreachable(limit: nil))
    }

    /// The router reports 1450 bytes, and behind it packets of more than 1400 vanish.
    @Test("a black hole behind a router with a larger MTU is found")
    func blackHoleBehindARouter() {
        var search = PathMTUSearch(full: 1480)
        var action = search.tooBig(limit: 1450)
        for _ in 0..<100 {
            guard case .send(let size) = action else { break }
            action = size <= 1400 ? search.answered() : search.silent()
        }
        #expect(action == .end(.passes(1400, isReported: false)))
    }

    /// The host drops echo requests.
    @Test("the reported MTU is kept if the host is silent")
    func silentHostBehindARouter() {
        var search = PathMTUSearch(full: 1480)
        var action = search.tooBig(limit: 1400)
        for _ in 0..<100 {
            guard case .send = action else { break }
            action = search.silent()
        }
        #expect(action == .end(.unreachable(limit: 1400)))
    }

    @Test("a single lost packet does not reduce the MTU")
    func losses() {
        var search = PathMTUSearch(full: 1480)
        #expect(search.silent() == .send(1480))
        #expect(search.silent() == .send(1480))
        #expect(search.answered() == .end(.passes(1480, isReported: false)))
    }

    @Test("an impossible packet size is refused")
    func sizes() {
        for size in [67, 65_536] { #expect(throws: InvalidCheck.self) { try MTUCheck(size: size) } }
    }

    // MARK: - Messages

    private let echo = EchoRequest(identifier: 0xFFFE, destination: IPv4Address(0x0A00_0064))

    @Test("a request fills the packet, and has a correct checksum")
    func requests() {
        let bytes = echo.bytes(sequence: 0xFFFF, size: 101)
        #expect(bytes.count == 81)
        #expect(bytes.prefix(2) == [8, 0])
        #expect(bytes[4..<8] == [0xFF, 0xFE, 0xFF, 0xFF])
        var sum = stride(from: 0, to: 8, by: 2).reduce(UInt32(0)) {
            $0 + UInt32(bytes[$1]) << 8 + UInt32(bytes[$1 + 1])
        }
        while sum > 0xFFFF { sum = sum & 0xFFFF + sum >> 16 }
        #expect(sum == 0xFFFF)
    }

    private func ip(_ transport: UInt8, to address: UInt32) -> [UInt8] {
        [0x45, 0, 0, 0, 0, 0, 0, 0, 64, transport, 0, 0, 192, 0, 2, 1]
            + (0..<4).map { UInt8(truncatingIfNeeded: address >> (24 - 8 * $0)) }
    }

    @Test("a router's report counts only if it quotes the request")
    func routersMessages() {
        let head = ip(1, to: 0xC000_0201) + [3, 4, 0, 0, 0, 0, 0x05, 0x78]
        let quoted = ip(1, to: echo.destination.value) + echo.bytes(sequence: 7, size: 28)
        func largest(_ bytes: [UInt8], sequence: UInt16 = 7) -> Int? {
            echo.mtu(reportedBy: ByteBuffer(bytes: bytes), sequence: sequence)
        }
        #expect(largest(head + quoted) == 1400)
        // The report is about the IPIP packet, so the inner packet has 20 bytes less.
        #expect(largest(head + ip(4, to: 0x0A00_000B) + quoted) == 1380)
        #expect(largest(head + quoted, sequence: 8) == nil)
        #expect(largest(head + ip(1, to: 1) + quoted.dropFirst(20)) == nil)
        #expect(largest(head + ip(17, to: echo.destination.value) + quoted.dropFirst(20)) == nil)
        let unreachable = ip(1, to: 1) + [3, 3, 0, 0, 0, 0, 5, 0x78]
        #expect(largest(unreachable + quoted) == nil)
        for length in 0..<(head + ip(4, to: 1) + quoted).count {
            #expect(largest(Array((head + ip(4, to: 1) + quoted).prefix(length))) == nil, "\(length)")
        }
    }

    // MARK: - Packets

    /// This process, a router, and a host behind a link with an MTU of 1400, each in a network namespace.
    @Test("the path MTU is found through a router that reports it, and through one that does not")
    func routers() async {
        await #expect(processExitsWith: .success) {
            let name = "ipvsd-mtu-\(getpid())"
            defer { _ = system("ip netns del \(name)-r; ip netns del \(name)-s") }
            // No thread may exist before the change of the namespace.
            guard clinux_unshare_network() == 0,
                system(
                    """
                    set -e
                    ip netns add \(name)-r; ip netns add \(name)-s
                    ip link set lo up
                    ip link add veth0 type veth peer name veth1 netns \(name)-r
                    ip -n \(name)-r link add veth2 mtu 1400 type veth peer name veth3 mtu 1400 netns \(name)-s
                    ip address add 10.9.0.1/24 dev veth0; ip link set veth0 up
                    ip -n \(name)-r address add 10.9.0.2/24 dev veth1; ip -n \(name)-r link set veth1 up
                    ip -n \(name)-r address add 10.9.1.2/24 dev veth2; ip -n \(name)-r link set veth2 up
                    ip -n \(name)-s address add 10.9.1.3/24 dev veth3; ip -n \(name)-s link set veth3 up
                    ip -n \(name)-s route add default via 10.9.1.2
                    ip route add default via 10.9.0.2 dev veth0
                    ip netns exec \(name)-r sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
                    """) == 0
            else {
                Issue.record("no namespaces")
                return
            }
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            let checker = Checker(group: group)
            // The socket is like the tunnel's: bound to a device and marked.
            let way = Check.Way.tunnel(
                vip: IPAddress(0x0A09_0103), mark: 1, device: Int32(if_nametoindex("veth0")),
                source: IPAddress(0x0A09_0001))
            func run(_ size: Int) async throws -> CheckVerdict {
                await checker.run(.mtu(try MTUCheck(size: size)), by: way, deadline: .seconds(20))
            }
            func pass(_ verdict: CheckVerdict) -> CheckVerdict.Pass? {
                if case .passed(let pass) = verdict { pass } else { nil }
            }
            let whole = pass(try await run(1400))
            #expect(whole?.pathMTU == 1400)
            #expect(whole?.note == nil)
            let reported = pass(try await run(1480))
            #expect(reported?.pathMTU == 1400)
            #expect(reported?.note == "packets of more than 1400 bytes are too big, and the path reports it")
            // This machine's device first reports its own MTU, and then the router reports the smaller one.
            #expect(pass(try await run(3000))?.pathMTU == 1400)
            #expect(
                system(
                    """
                    ip netns exec \(name)-r nft 'add table ip t; add chain ip t o { type filter hook output priority 0; };
                    add rule ip t o icmp type destination-unreachable drop'
                    """) == 0)
            let hole = try await run(1480)
            #expect(
                hole
                    == .failed(
                        .init(
                            stage: .answer,
                            reason: "black hole: packets of 1401 bytes and more vanish (1480 expected to pass)",
                            hostAnswered: true, pathMTU: 1400)))
            #expect(system("ip -n \(name)-s link set veth3 down") == 0)
            let nobody = try await run(1480)
            #expect(
                nobody
                    == .failed(.init(stage: .answer, reason: "answer: none, not even to a packet of 68 bytes")))
        }
    }
}
