import Addresses
import CLinux
import Glibc
import SystemCalls
import Testing

@testable import Netlink

/// Tests in a network namespace. Each body is an exit test, which enters a new namespace in a process of its own.
struct NamespaceTests {
    @Test("links and addresses are added, changed and removed")
    func linksAndAddresses() async {
        await #expect(processExitsWith: .success) {
            try #require(clinux_unshare_network() == 0)
            let socket = try RouteSocket()
            #expect(try socket.links().contains { $0.name == "lo" && $0.isLoopback && !$0.isUp })
            try socket.createVeth(name: "nl-a", peer: "nl-b")
            let a = try #require(try socket.link(named: "nl-a"))
            let b = try #require(try socket.link(named: "nl-b"))
            #expect(a.kind == "veth")
            #expect(a.isEthernet)
            #expect(a.address != nil)
            #expect(a.mtu == 1500)
            #expect(try socket.link(index: a.index) == a)
            #expect(try socket.link(named: "nl-none") == nil)
            #expect(try socket.link(named: "a-name-that-is-too-long") == nil)

            try socket.setUp(true, interface: a.index)
            try socket.setUp(true, interface: b.index)
            try socket.setMTU(1400, interface: a.index)
            try socket.setARP(false, interface: a.index)
            let changed = try #require(try socket.link(index: a.index))
            #expect(changed.isUp)
            #expect(changed.hasCarrier)
            #expect(changed.noARP)
            #expect(changed.mtu == 1400)

            let address = try #require(IPAddress("10.0.0.100"))
            #expect(try socket.addAddress(address, prefixLength: 32, to: a.index))
            #expect(try !socket.addAddress(address, prefixLength: 32, to: a.index))
            let entry = InterfaceAddress(interface: a.index, address: address, prefixLength: 32)
            #expect(try socket.addresses() == [entry])
            #expect(try socket.removeAddress(address, prefixLength: 32, from: a.index))
            #expect(try !socket.removeAddress(address, prefixLength: 32, from: a.index))

            #expect(try socket.deleteLink(index: a.index))
            #expect(try !socket.deleteLink(index: a.index))
            #expect(try socket.link(named: "nl-b") == nil)
        }
    }

    @Test("routes and rules are added, found and removed")
    func routesAndRules() async {
        await #expect(processExitsWith: .success) {
            try #require(clinux_unshare_network() == 0)
            let socket = try RouteSocket()
            try socket.createVeth(name: "nl-a", peer: "nl-b")
            let index = try #require(try socket.link(named: "nl-a")).index
            let own = try #require(IPAddress("10.0.0.1"))
            let gateway = try #require(IPAddress("10.0.0.254"))
            let far = try #require(IPAddress("192.0.2.1"))
            let near = try #require(IPAddress("10.0.0.9"))
            for name in ["nl-a", "nl-b", "lo"] {
                try socket.setUp(true, interface: try #require(try socket.link(named: name)).index)
            }
            try socket.addAddress(own, prefixLength: 24, to: index)

            #expect(try socket.route(to: far) == nil)
            let onLink = try #require(try socket.route(to: near))
            #expect(onLink.interface == index)
            #expect(onLink.gateway == nil)
            #expect(onLink.source == own)
            #expect(!onLink.isLocal)
            #expect(try #require(try socket.route(to: own)).isLocal)

            let standard = Route(destination: IPAddress(0), prefixLength: 0, gateway: gateway, interface: index)
            try socket.addRoute(standard, replace: false)
            #expect(throws: NetlinkError.self) { try socket.addRoute(standard, replace: false) }
            #expect(try socket.route(to: far)?.gateway == gateway)
            #expect(try socket.routes(table: RouteTable.main).contains(standard))

            let table: UInt32 = 19_800
            #expect(try socket.routes(table: table).isEmpty)
            var clamped = standard
            clamped.table = table
            clamped.advmss = 1440
            clamped.protocolID = 198
            try socket.addRoute(clamped, replace: true)
            try socket.addRoute(clamped, replace: true)
            #expect(try socket.routes(table: table) == [clamped])

            let rule = Rule(priority: table, source: own, table: table, protocolID: 198)
            #expect(try socket.addRule(rule))
            #expect(try !socket.addRule(rule))
            #expect(try socket.rules().contains(rule))
            #expect(try socket.removeRule(rule))
            #expect(try !socket.removeRule(rule))
            #expect(try socket.removeRoute(clamped))
            #expect(try !socket.removeRoute(clamped))
            #expect(try !socket.removeRoute(Route(destination: far, prefixLength: 32, interface: 4711)))
        }
    }

    @Test("a neighbour is managed and removed")
    func neighboursAreManaged() async {
        await #expect(processExitsWith: .success) {
            try #require(clinux_unshare_network() == 0)
            let socket = try RouteSocket()
            try socket.createVeth(name: "nl-a", peer: "nl-b")
            let index = try #require(try socket.link(named: "nl-a")).index
            for name in ["nl-a", "nl-b"] {
                try socket.setUp(true, interface: try #require(try socket.link(named: name)).index)
            }
            try socket.addAddress(try #require(IPAddress("10.0.0.1")), prefixLength: 24, to: index)
            let address = try #require(IPAddress("10.0.0.11"))
            #expect(try socket.neighbour(address, on: index) == nil)
            #expect(try socket.manageNeighbour(address, on: index))
            #expect(try socket.manageNeighbour(address, on: index))
            let neighbour = try #require(try socket.neighbours().first { $0.address == address })
            #expect(neighbour.isManaged)
            #expect(!neighbour.isUsable)
            #expect(neighbour.interface == index)
            #expect(try socket.removeNeighbour(address, on: index))
            #expect(try !socket.removeNeighbour(address, on: index))
            #expect(try socket.neighbour(address, on: index) == nil)
        }
    }

    @Test("a neighbour with an IPv6 address is managed and removed")
    func neighboursWithIPv6AddressesAreManaged() async {
        await #expect(processExitsWith: .success) {
            try #require(clinux_unshare_network() == 0)
            let socket = try RouteSocket()
            try socket.createVeth(name: "nl-a", peer: "nl-b")
            let index = try #require(try socket.link(named: "nl-a")).index
            for name in ["nl-a", "nl-b"] {
                try socket.setUp(true, interface: try #require(try socket.link(named: name)).index)
            }
            let address = IPAddress.v6(try #require(IPv6Address("fe80::fc:1")))
            #expect(try socket.neighbour(address, on: index) == nil)
            #expect(try socket.manageNeighbour(address, on: index))
            let neighbour = try #require(try socket.neighbour(address, on: index))
            #expect(neighbour.address == address)
            #expect(neighbour.isManaged)
            #expect(!neighbour.isUsable)
            #expect(try socket.removeNeighbour(address, on: index))
            #expect(try !socket.removeNeighbour(address, on: index))
        }
    }

    @Test("a monitor returns the kinds of changes")
    func monitorTellsWhatChanged() async {
        await #expect(processExitsWith: .success) {
            try #require(clinux_unshare_network() == 0)
            let socket = try RouteSocket()
            let monitor = try RouteMonitor()
            #expect(try monitor.drain().isEmpty)
            try socket.createVeth(name: "nl-a", peer: "nl-b")
            #expect(try monitor.drain().contains(.link))
            let index = try #require(try socket.link(named: "nl-a")).index
            try socket.setUp(true, interface: index)
            _ = try monitor.drain()
            let address = try #require(IPAddress("10.0.0.1"))
            try socket.addAddress(address, prefixLength: 24, to: index)
            var ready = pollfd(fd: monitor.descriptor, events: Int16(POLLIN), revents: 0)
            #expect(poll(&ready, 1, 1000) == 1)
            #expect(try monitor.drain() == [.address, .route])
            try socket.addRule(Rule(priority: 5, source: address, table: 5, protocolID: 198))
            #expect(try monitor.drain() == [.route])
        }
    }

    @Test("a monitor returns all kinds after an overflow")
    func monitorSurvivesAnOverflow() async {
        await #expect(processExitsWith: .success) {
            try #require(clinux_unshare_network() == 0)
            let socket = try RouteSocket()
            let monitor = try RouteMonitor()
            var size: Int32 = 1
            setsockopt(monitor.descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
            let loopback = try #require(try socket.link(named: "lo")).index
            for _ in 0..<100 {
                try socket.setUp(true, interface: loopback)
                try socket.setUp(false, interface: loopback)
            }
            #expect(try monitor.drain() == Set(RouteMonitor.Kind.allCases))
            #expect(try monitor.drain().isEmpty)
        }
    }

    @Test("a dump longer than a datagram is complete")
    func dumpsLongerThanADatagram() async {
        await #expect(processExitsWith: .success) {
            try #require(clinux_unshare_network() == 0)
            let socket = try RouteSocket()
            let loopback = try #require(try socket.link(named: "lo")).index
            try socket.setUp(true, interface: loopback)
            for number in 0..<2000 {
                try socket.addRoute(
                    Route(
                        destination: IPAddress(0x0A00_0000 + UInt32(number)), prefixLength: 32,
                        interface: loopback, scope: RouteScope.link))
            }
            #expect(try socket.routes(table: RouteTable.main).count == 2000)
        }
    }

    @Test("an error names the device and the kernel's reason")
    func errorsNameSubjectAndReason() async {
        await #expect(processExitsWith: .success) {
            try #require(clinux_unshare_network() == 0)
            let socket = try RouteSocket()
            let error = #expect(throws: NetlinkError.self) { try socket.createLink(name: "x", kind: "nonsense") }
            #expect(error?.description == "create nonsense device x: Operation not supported (Unknown device type)")
        }
    }
}
