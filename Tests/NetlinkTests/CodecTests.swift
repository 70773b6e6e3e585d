import Addresses
@testable import Netlink
import SystemCalls
import Testing

/// Messages in the bytes of a little-endian kernel.
struct CodecTests {
    @Test("a request adds an address")
    func addressIsAdded() throws {
        let address = try #require(IPAddress("10.0.0.100"))
        let entry = InterfaceAddress(interface: 4, address: address, prefixLength: 32)
        #expect(
            entry.addRequest.finished(sequence: 7, flags: 4)
                == hex(
                    """
                    28000000 1400 0506 07000000 00000000 ; RTM_NEWADDR, REQUEST|ACK|CREATE|EXCL, sequence 7
                    02 20 00 00 04000000                 ; AF_INET, /32, universe, interface 4
                    0800 0200 0a000064                   ; IFA_LOCAL
                    0800 0100 0a000064                   ; IFA_ADDRESS
                    """))
    }

    @Test("a request creates a veth pair")
    func vethPairIsCreated() {
        #expect(
            Link.createVethRequest(name: "a", peer: "bcd").finished(sequence: 1)
                == hex(
                    """
                    58000000 1000 0106 01000000 00000000                  ; RTM_NEWLINK, REQUEST|CREATE|EXCL
                    00 00 0000 00000000 00000000 00000000                 ; ifinfomsg
                    0600 0300 6100 0000                                   ; IFLA_IFNAME "a"
                    3000 1200                                             ; IFLA_LINKINFO
                      0900 0100 76657468 00 000000                        ;   IFLA_INFO_KIND "veth"
                      2000 0200                                           ;   IFLA_INFO_DATA
                        1c00 0100 00 00 0000 00000000 00000000 00000000   ;     VETH_INFO_PEER: ifinfomsg
                          0800 0300 62636400                              ;       IFLA_IFNAME "bcd"
                    """))
    }

    /// The message is the kernel's after `ip link property add dev eth0 altname enp5s0f0np0`.
    @Test("a link's alternative names and permanent address are read")
    func otherNamesAndTheHardwaresAddressAreRead() throws {
        let links = Message.split(
            hex(
                """
                50000000 1000 0000 07000000 00000000   ; RTM_NEWLINK
                00 00 0100 04000000 00000000 00000000  ; ifinfomsg: Ethernet, interface 4
                0900 0300 65746830 00 000000           ; IFLA_IFNAME "eth0"
                1800 3480                              ; IFLA_PROP_LIST
                  1000 3500 656e703573306630 6e703000  ;   IFLA_ALT_IFNAME "enp5s0f0np0"
                  0400 3600                            ;   another property
                0a00 3600 020000000005 0000            ; IFLA_PERM_ADDRESS
                """)
        ).compactMap(Link.init)
        let link = try #require(links.first)
        #expect(link.alternativeNames == ["enp5s0f0np0"])
        #expect(links.called("enp5s0f0np0") == link)
        #expect(links.called("eth0") == link)
        #expect(links.called("enp5s0f0np1") == nil)
        #expect(link.permanentAddress == MACAddress("02:00:00:00:00:05"))
        #expect(link.address == nil)
        #expect(MACAddress("02:00:00:00:00") == nil)
        #expect(MACAddress("02:00:00:00:00:5") == nil)
    }

    @Test("a request creates a tunnel, and its attributes are read back")
    func tunnelIsCreated() throws {
        let local = IPv4Address(0xC000_0201)
        let remote = IPv4Address(0xC633_6401)
        let bytes = Tunnel.createRequest(name: "t1", local: local, remote: remote, ttl: 64, mtu: 1400)
            .finished(sequence: 1)
        #expect(
            bytes
                == hex(
                    """
                    64000000 1000 0106 01000000 00000000   ; RTM_NEWLINK, REQUEST|CREATE|EXCL
                    00 00 0000 00000000 00000000 00000000  ; ifinfomsg
                    0700 0300 743100 00                    ; IFLA_IFNAME "t1"
                    3400 1200                              ; IFLA_LINKINFO
                      0900 0100 69706970 00 000000         ;   IFLA_INFO_KIND "ipip"
                      2400 0200                            ;   IFLA_INFO_DATA
                        0800 0200 c0000201                 ;     IFLA_IPTUN_LOCAL
                        0800 0300 c6336401                 ;     IFLA_IPTUN_REMOTE
                        0500 0400 40 000000                ;     IFLA_IPTUN_TTL
                        0500 0a00 01 000000                ;     IFLA_IPTUN_PMTUDISC
                    0800 0400 78050000                     ; IFLA_MTU
                    """))
        #expect(
            Message.split(bytes).compactMap(Tunnel.init) == [
                Tunnel(
                    interface: 0, name: "t1", kind: "ipip", isUp: false, local: local, remote: remote, ttl: 64,
                    mtu: 1400)
            ])
    }

    @Test("an address with a peer is read as it was written")
    func addressWithPeerSurvivesTheRoundTrip() {
        let entry = InterfaceAddress(
            interface: 4, address: IPAddress(0x0AFF_0001), peer: IPAddress(0x0AFF_0002), prefixLength: 32)
        #expect(Message.split(entry.addRequest.finished(sequence: 1)).compactMap(InterfaceAddress.init) == [entry])
    }

    @Test("a request adds a route with a gateway and an MSS")
    func routeWithMSSAndGateway() throws {
        let route = Route(
            destination: try #require(IPAddress("10.1.0.0")), prefixLength: 16, table: 19_800,
            gateway: IPAddress("10.0.0.1"), interface: 3, advmss: 1440, protocolID: 198)
        let bytes = route.addRequest(replace: true).finished(sequence: 2)
        #expect(
            bytes
                == hex(
                    """
                    48000000 1800 0105 02000000 00000000   ; RTM_NEWROUTE, REQUEST|REPLACE|CREATE
                    02 10 00 00 00 c6 00 01 00000000       ; AF_INET, /16, table by attribute, 198, universe, unicast
                    0800 0f00 584d0000                     ; RTA_TABLE 19800
                    0800 0100 0a010000                     ; RTA_DST
                    0800 0500 0a000001                     ; RTA_GATEWAY
                    0800 0400 03000000                     ; RTA_OIF
                    0c00 0800 0800 0800 a0050000           ; RTA_METRICS: RTAX_ADVMSS 1440
                    """))
        #expect(Message.split(bytes).compactMap(Route.init) == [route])
    }

    @Test("a multipath route is read as it was written")
    func multipathRouteSurvivesTheRoundTrip() throws {
        let hop = { (interface: Int32, gateway: String?, weight: UInt16) in
            Route.NextHop(
                interface: interface, gateway: gateway.flatMap(IPAddress.init), weight: weight, isOnLink: false)
        }
        let route = Route(
            destination: IPAddress(0), prefixLength: 0, nextHops: [hop(3, "10.0.0.1", 1), hop(4, nil, 256)])
        let bytes = route.addRequest(replace: false).finished(sequence: 2)
        #expect(Message.split(bytes).compactMap(Route.init) == [route])
    }

    @Test("a rule is read as it was written")
    func ruleSurvivesTheRoundTrip() throws {
        let rule = Rule(priority: 19_800, source: IPAddress("10.0.0.100"), table: 19_800, protocolID: 198)
        let bytes = rule.addRequest.finished(sequence: 9)
        #expect(Message.split(bytes).compactMap(Rule.init) == [rule])
        #expect(rule.description == "19800: from 10.0.0.100/32 lookup 19800")
    }

    @Test("requests about IPv6 say so in their header")
    func familyOfRequests() throws {
        let far = try #require(IPAddress("2001:db8::1"))
        let router = try #require(IPAddress("fe80::1"))
        let route = Route(destination: far, prefixLength: 128, gateway: router, interface: 3)
        let messages = [
            route.addRequest(replace: false), InterfaceAddress(interface: 3, address: far, prefixLength: 64).addRequest,
            Rule(priority: 1, source: far, sourcePrefixLength: 128, table: 2, protocolID: 4).addRequest,
            ResolvedRoute.request(to: far, from: nil, via: 3),
        ].map { $0.finished(sequence: 1) }
        // AF_INET6, which is the first byte after the header of 16.
        #expect(messages.map { $0[16] } == [10, 10, 10, 10])
        for message in messages {
            #expect(message.indices.contains { message[$0...].starts(with: far.bytes) })
        }
    }

    @Test("a request has the kernel manage a neighbour")
    func neighbourIsManaged() throws {
        let address = try #require(IPAddress("10.0.0.11"))
        #expect(
            Neighbour.manageRequest(address, on: 4).finished(sequence: 3)
                == hex(
                    """
                    2c000000 1c00 0105 03000000 00000000   ; RTM_NEWNEIGH, REQUEST|REPLACE|CREATE
                    02 00 0000 04000000 0000 01 00         ; AF_INET, interface 4, NUD_NONE, NTF_USE
                    0800 0100 0a00000b                     ; NDA_DST
                    0800 0f00 01000000                     ; NDA_FLAGS_EXT: NTF_EXT_MANAGED
                    """))
    }

    @Test("a request has the kernel manage a neighbour with an IPv6 address")
    func neighbourWithAnIPv6AddressIsManaged() throws {
        let address = IPAddress.v6(try #require(IPv6Address("fe80::fc:1")))
        #expect(
            Neighbour.manageRequest(address, on: 4).finished(sequence: 3)
                == hex(
                    """
                    38000000 1c00 0105 03000000 00000000               ; RTM_NEWNEIGH, REQUEST|REPLACE|CREATE
                    0a 00 0000 04000000 0000 01 00                     ; AF_INET6, interface 4, NUD_NONE, NTF_USE
                    1400 0100 fe80000000000000 0000000000fc0001        ; NDA_DST
                    0800 0f00 01000000                                 ; NDA_FLAGS_EXT: NTF_EXT_MANAGED
                    """))
    }

    @Test("the IPv6 gateway of an IPv4 route is read from RTA_VIA (RFC 5549)")
    func gatewayWithAnIPv6AddressIsRead() throws {
        func route(via: String) -> ResolvedRoute? {
            let bytes = hex(
                """
                4a000000 1800 0000 03000000 39300000               ; RTM_NEWROUTE
                02 20 00 00 fe 00 00 01 00000000                   ; AF_INET, /32, main, unicast
                0800 0100 09090909                                 ; RTA_DST
                0800 0400 03000000                                 ; RTA_OIF
                0800 0700 0a000002                                 ; RTA_PREFSRC
                1600 1200 \(via)                                   ; RTA_VIA
                """)
            return Message.split(bytes).compactMap(ResolvedRoute.init).first
        }
        let found = try #require(route(via: "0a00 fe80000000000000 0000000000fc0001"))
        #expect(found.gateway == .v6(try #require(IPv6Address("fe80::fc:1"))))
        #expect(found.gateway?.description == "fe80::fc:1")
        #expect(found.interface == 3)
        #expect(found.source == IPAddress("10.0.0.2"))
        // A gateway of an unknown family is no route, and not a destination on the link.
        #expect(route(via: "0700 fe80000000000000 0000000000fc0001") == nil)
    }

    @Test("a neighbour is read")
    func neighbourIsRead() throws {
        let datagram = hex(
            """
            30000000 1c00 0200 03000000 39300000   ; RTM_NEWNEIGH
            02 00 0000 04000000 0200 00 01         ; interface 4, NUD_REACHABLE
            0800 0100 0a00000b                     ; NDA_DST
            0a00 0200 02fc00000001 0000            ; NDA_LLADDR, padded
            """)
        let neighbour = try #require(Message.split(datagram).compactMap(Neighbour.init).first)
        #expect(neighbour.interface == 4)
        #expect(neighbour.address.description == "10.0.0.11")
        #expect(neighbour.linkAddress?.description == "02:fc:00:00:00:01")
        #expect(neighbour.isUsable)
        #expect(!neighbour.isManaged)
    }

    @Test("an error has the kernel's extended message")
    func errorCarriesTheKernelsReason() throws {
        let datagram = hex(
            """
            34000000 0200 0003 01000000 39300000   ; NLMSG_ERROR, CAPPED|ACK_TLVS
            a1ffffff                               ; -95
            28000000 1000 0506 01000000 00000000   ; the request's header
            1000 0100 4e6f207375636820 6b69 0000   ; NLMSGERR_ATTR_MSG, cut short on purpose
            """)
        let message = try #require(Message.split(datagram).first)
        #expect(message.outcome?.code == 95)
        #expect(message.outcome?.detail == "No such ki")
    }

    @Test("a truncated message is ignored", arguments: 0..<48)
    func truncatedMessagesAreSafe(length: Int) {
        let datagram = hex(
            """
            30000000 1c00 0200 03000000 39300000
            02 00 0000 04000000 0200 00 01
            0800 0100 0a00000b
            0a00 0200 02fc00000001 0000
            """)
        #expect(Message.split(Array(datagram.prefix(length))).isEmpty)
        // With the shorter length in its header the message's attributes are cut off.
        var short = Array(datagram.prefix(length))
        if length >= 16 {
            short[0] = UInt8(length)
            _ = Message.split(short).compactMap(Neighbour.init)
            _ = Message.split(short).compactMap(Link.init)
            _ = Message.split(short).compactMap(Route.init)
        }
    }

    @Test("a MAC address has six bytes")
    func macAddress() throws {
        let bytes: [UInt8] = [2, 0xFC, 0, 0, 0, 1]
        let address = try #require(MACAddress(bytes))
        #expect(address.bytes == bytes)
        #expect(MACAddress([1, 2, 3]) == nil)
    }

    @Test("an error's description has operation, reason and detail")
    func errorDescription() {
        #expect(
            NetlinkError("create ipip device tunl0", code: 95, detail: "Unknown device type").description
                == "create ipip device tunl0: Operation not supported (Unknown device type)")
    }

    @Test("a VLAN device's tag is read")
    func tagOfAVLANDevice() throws {
        let bytes = hex(
            """
            58000000 1000 0000 01000000 00000000               ; RTM_NEWLINK
            00 00 0100 05000000 43000100 00000000              ; ifinfomsg: Ethernet, interface 5, up and running
            0b00 0300 65746830 2e3700 00                       ; IFLA_IFNAME "eth0.7"
            0800 0500 02000000                                 ; IFLA_LINK 2
            2400 1200                                          ; IFLA_LINKINFO
              0900 0100 766c616e 00 000000                     ;   IFLA_INFO_KIND "vlan"
              1400 0200                                        ;   IFLA_INFO_DATA
                0600 0100 0700 0000                            ;     IFLA_VLAN_ID 7
                0600 0500 88a8 0000                            ;     IFLA_VLAN_PROTOCOL, in network byte order
            """)
        let link = try #require(Message.split(bytes).compactMap(Link.init).first)
        #expect(link.name == "eth0.7")
        #expect(link.kind == "vlan")
        #expect(link.lower == 2)
        #expect(link.tag == VLANTag(protocolID: 0x88A8, id: 7))
        #expect(!link.filtersVLANs)
    }

    @Test("a request looks up the port of a MAC address in a bridge")
    func bridgeIsAskedForAPort() throws {
        let mac = try #require(MACAddress([2, 0, 0, 0, 0, 0x0B]))
        #expect(
            ForwardingEntry.getRequest(mac, bridge: 9).finished(sequence: 3)
                == hex(
                    """
                    30000000 1e00 0100 03000000 00000000   ; RTM_GETNEIGH, REQUEST
                    07 00 0000 00000000 0000 00 00         ; ndmsg of AF_BRIDGE
                    0a00 0200 0200 0000 000b 0000          ; NDA_LLADDR
                    0800 0900 09000000                     ; NDA_MASTER
                    """))
    }
}

/// Returns the bytes of hexadecimal text, in which `;` begins a comment.
func hex(_ text: String) -> [UInt8] {
    text.split(separator: "\n").flatMap { line in
        line.prefix { $0 != ";" }.split(separator: " ").flatMap { word in
            stride(from: 0, to: word.count, by: 2).compactMap { UInt8(word.dropFirst($0).prefix(2), radix: 16) }
        }
    }
}
